/* efscrypt: an encrypted file tree in one store.
 *
 * Conventions:
 * - A function is efscrypt_<object>_<verb>. Where it can fail it answers an efscrypt_status: 0 for success.
 * - Objects are opaque. create and open give one out; free or close ends it, and accepts NULL.
 * - The last argument is an efscrypt_error of yours that receives details, or NULL.
 * - Outputs are written on success only. Inputs are not kept, unless said so.
 * - Names are bytes with a length, not strings: any bytes but '/' and NUL.
 * - A struct that you fill in begins with its size: set all of it to zero, then its size and what you
 *   mean. It may grow at its end in later versions; this version refuses what it does not know. A
 *   struct that you receive never grows, but for efscrypt_dir_entry, which you only look at.
 * - An inode number is never given to another inode. What clients keep is an efscrypt_handle.
 * - A change is seen by others when its function returns, and durable after efscrypt_store_commit
 *   (or efscrypt_fs_commit, fsync, or close): then it survives a power cut, with everything before
 *   it. With the option durable every change is so when its function returns.
 * - Every function may be called from any thread, many at a time on one object, but for the one
 *   that ends it.
 * - Callbacks of yours must not throw, unwind, or leave by longjmp. Those of a key provider must not
 *   call the store; the one of a directory may.
 * - After a fork the child must not use objects of the parent: every function on one answers
 *   EFSCRYPT_STATUS_FORKED at once. The parent goes on as before.
 * - A function that meets a bug answers EFSCRYPT_STATUS_INTERNAL. Where it was on a store, others on that
 *   store answer EFSCRYPT_STATUS_POISONED from then on: close it and open it again.
 * - Link with -lefscrypt. This file is generated: do not edit it.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef EFSCRYPT_H
#define EFSCRYPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* For a library that was built without the feature local-kms: define this before including. */
#ifndef EFSCRYPT_WITHOUT_LOCAL_KMS
#define EFSCRYPT_LOCAL_KMS
#endif

/**
 * Most bytes of a wrapped key's blob.
 */
#define EFSCRYPT_BLOB_LEN 1024

/**
 * Bytes of a key's id with its final NUL, at most.
 */
#define EFSCRYPT_KEY_ID_LEN 513

/**
 * The provider does not know the key, does not answer, or is not there.
 */
#define EFSCRYPT_KEY_UNKNOWN 0

/**
 * The key wraps and unwraps.
 */
#define EFSCRYPT_KEY_ENABLED 1

/**
 * The key refuses both until it is enabled again.
 */
#define EFSCRYPT_KEY_DISABLED 2

/**
 * The key refuses both, and is destroyed at a date unless that is cancelled.
 */
#define EFSCRYPT_KEY_PENDING_DELETION 3

/**
 * Bytes of a message with its final NUL.
 */
#define EFSCRYPT_MESSAGE_LEN 256

/**
 * The list that says who may do what.
 */
#define EFSCRYPT_ACL_ACCESS 0

/**
 * The list of a directory that what is made in it starts from.
 */
#define EFSCRYPT_ACL_DEFAULT 1

/**
 * The right to execute a file or reach what is in a directory.
 */
#define EFSCRYPT_EXECUTE 1

/**
 * The right to write a file or change the names of a directory.
 */
#define EFSCRYPT_WRITE 2

/**
 * The right to read a file or list a directory.
 */
#define EFSCRYPT_READ 4

/**
 * A caller of whom nothing is known: set-user-ID and set-group-ID bits go with a change of
 * contents or owner, as by the functions that ask for no standing.
 */
#define EFSCRYPT_STANDING_OTHER 0

/**
 * A caller in the file's group: set-user-ID goes, and set-group-ID where the group may execute
 * the file.
 */
#define EFSCRYPT_STANDING_MEMBER 1

/**
 * A caller with Linux's `CAP_FSETID`: a change of contents leaves both bits, and one of the owner
 * does what it does for a member.
 */
#define EFSCRYPT_STANDING_PRIVILEGED 2

/**
 * A file whose range ends behind it grows to the end of the range.
 */
#define EFSCRYPT_BEYOND_GROW 0

/**
 * A file whose range ends behind it keeps its size.
 */
#define EFSCRYPT_BEYOND_KEEP 1

/**
 * Inode number of the root directory.
 */
#define EFSCRYPT_ROOT 1

/**
 * A write is durable after a commit: UNSTABLE of NFS.
 */
#define EFSCRYPT_STABILITY_UNSTABLE 0

/**
 * Contents, and what is needed to read them, are durable when the write returns: DATA_SYNC.
 */
#define EFSCRYPT_STABILITY_DATA 1

/**
 * All of a write is durable when it returns: FILE_SYNC.
 */
#define EFSCRYPT_STABILITY_FILE 2

/**
 * Most bytes of a file handle.
 */
#define EFSCRYPT_HANDLE_LEN 60

/**
 * Creating fails with `EFSCRYPT_STATUS_EXISTS` where the name exists.
 */
#define EFSCRYPT_CREATE_GUARDED 0

/**
 * A regular file that has the name is taken as it is.
 */
#define EFSCRYPT_CREATE_UNCHECKED 1

/**
 * As `EFSCRYPT_CREATE_GUARDED`, unless the file was created with the same verifier and no
 * attribute was set since: so a client may repeat a request whose answer was lost, also after a
 * crash.
 */
#define EFSCRYPT_CREATE_EXCLUSIVE 2

/**
 * Renaming replaces what has the new name: a file a file, a directory an empty directory.
 */
#define EFSCRYPT_RENAME_REPLACE 0

/**
 * Renaming fails with `EFSCRYPT_STATUS_EXISTS` where the new name exists.
 */
#define EFSCRYPT_RENAME_NO_REPLACE 1

/**
 * Renaming exchanges the two, which must both exist.
 */
#define EFSCRYPT_RENAME_EXCHANGE 2

/**
 * `mode` counts.
 */
#define EFSCRYPT_SET_MODE 1

/**
 * `uid` counts.
 */
#define EFSCRYPT_SET_UID 2

/**
 * `gid` counts.
 */
#define EFSCRYPT_SET_GID 4

/**
 * `file_size` counts.
 */
#define EFSCRYPT_SET_SIZE 8

/**
 * `atime` counts.
 */
#define EFSCRYPT_SET_ATIME 16

/**
 * `mtime` counts.
 */
#define EFSCRYPT_SET_MTIME 32

/**
 * The last access is the moment of the operation.
 */
#define EFSCRYPT_SET_ATIME_NOW 64

/**
 * The last change of contents is the moment of the operation.
 */
#define EFSCRYPT_SET_MTIME_NOW 128

/**
 * `guard` counts.
 */
#define EFSCRYPT_SET_GUARD 256

/**
 * `umask` counts.
 */
#define EFSCRYPT_SET_UMASK 512

/**
 * An extended attribute is set whether it exists or not.
 */
#define EFSCRYPT_XATTR_EITHER 0

/**
 * It must not exist: `EFSCRYPT_STATUS_EXISTS`.
 */
#define EFSCRYPT_XATTR_CREATE 1

/**
 * It must exist: `EFSCRYPT_STATUS_NO_ATTRIBUTE`.
 */
#define EFSCRYPT_XATTR_REPLACE 2

/**
 * Version of the interface in this header: raised when a function or a field is added. Compare it
 * with `efscrypt_abi_version()` of the library that was loaded.
 */
#define EFSCRYPT_ABI_VERSION 1

/**
 * What a function answers. The numbers are stable and never reused.
 */
enum efscrypt_status
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * Success.
   */
  EFSCRYPT_STATUS_OK = 0,
  /**
   * No such file or directory.
   */
  EFSCRYPT_STATUS_NOT_FOUND = 1,
  /**
   * The name exists already.
   */
  EFSCRYPT_STATUS_EXISTS = 2,
  /**
   * Not a directory.
   */
  EFSCRYPT_STATUS_NOT_DIRECTORY = 3,
  /**
   * Is a directory.
   */
  EFSCRYPT_STATUS_IS_DIRECTORY = 4,
  /**
   * The directory is not empty.
   */
  EFSCRYPT_STATUS_NOT_EMPTY = 5,
  /**
   * The name is too long.
   */
  EFSCRYPT_STATUS_NAME_TOO_LONG = 6,
  /**
   * No state of the store could accept an argument.
   */
  EFSCRYPT_STATUS_INVALID_ARGUMENT = 7,
  /**
   * Too many hard links.
   */
  EFSCRYPT_STATUS_TOO_MANY_LINKS = 8,
  /**
   * The file would be too large.
   */
  EFSCRYPT_STATUS_FILE_TOO_LARGE = 9,
  /**
   * No such extended attribute.
   */
  EFSCRYPT_STATUS_NO_ATTRIBUTE = 10,
  /**
   * The value is larger than the buffer.
   */
  EFSCRYPT_STATUS_BUFFER_TOO_SMALL = 11,
  /**
   * The file that the handle or number named is gone.
   */
  EFSCRYPT_STATUS_STALE = 12,
  /**
   * Not a handle of this file system.
   */
  EFSCRYPT_STATUS_BAD_HANDLE = 13,
  /**
   * Not supported on this type of file.
   */
  EFSCRYPT_STATUS_NOT_SUPPORTED = 14,
  /**
   * A directory cannot be moved below itself.
   */
  EFSCRYPT_STATUS_LOOP = 15,
  /**
   * Opened read-only.
   */
  EFSCRYPT_STATUS_READ_ONLY = 16,
  /**
   * The attributes changed since the caller read them.
   */
  EFSCRYPT_STATUS_NOT_SYNC = 17,
  /**
   * The value of an extended attribute is longer than 64 KiB.
   */
  EFSCRYPT_STATUS_VALUE_TOO_LARGE = 18,
  /**
   * No space left; deleting still works.
   */
  EFSCRYPT_STATUS_NO_SPACE = 30,
  /**
   * The device failed.
   */
  EFSCRYPT_STATUS_IO = 31,
  /**
   * Changes are refused since an earlier failure: close and open again.
   */
  EFSCRYPT_STATUS_POISONED = 32,
  /**
   * No memory for what an argument or a file asks for.
   */
  EFSCRYPT_STATUS_NO_MEMORY = 33,
  /**
   * The store is open elsewhere.
   */
  EFSCRYPT_STATUS_IN_USE = 50,
  /**
   * Not a store.
   */
  EFSCRYPT_STATUS_NOT_A_STORE = 51,
  /**
   * The store needs a newer version.
   */
  EFSCRYPT_STATUS_UNSUPPORTED = 52,
  /**
   * The store is truncated.
   */
  EFSCRYPT_STATUS_TRUNCATED = 53,
  /**
   * Bytes do not authenticate, or make no sense.
   */
  EFSCRYPT_STATUS_CORRUPT = 54,
  /**
   * Another opening took the store over: this one changes nothing any more. Close it.
   */
  EFSCRYPT_STATUS_TAKEN_OVER = 55,
  /**
   * The key does not open the store.
   */
  EFSCRYPT_STATUS_WRONG_KEY = 70,
  /**
   * Wrong passphrase.
   */
  EFSCRYPT_STATUS_WRONG_PASSPHRASE = 71,
  /**
   * The key service has no such key.
   */
  EFSCRYPT_STATUS_KEY_NOT_FOUND = 72,
  /**
   * The key is disabled or pending deletion.
   */
  EFSCRYPT_STATUS_KEY_DISABLED = 73,
  /**
   * The key service refused.
   */
  EFSCRYPT_STATUS_KEY_DENIED = 74,
  /**
   * The key service cannot be reached.
   */
  EFSCRYPT_STATUS_KEY_UNREACHABLE = 75,
  /**
   * The contents key is locked.
   */
  EFSCRYPT_STATUS_KEY_UNAVAILABLE = 76,
  /**
   * The store was opened before a fork.
   */
  EFSCRYPT_STATUS_FORKED = 77,
  /**
   * The log of key uses is not the one that the key service continues.
   */
  EFSCRYPT_STATUS_AUDIT_LOG_MISMATCH = 78,
  /**
   * The key was wrapped under another encryption context.
   */
  EFSCRYPT_STATUS_WRONG_CONTEXT = 79,
  /**
   * A bug in the engine. Where it was a panic in a function on a store, all others on that store
   * but the one that closes it answer `EFSCRYPT_STATUS_POISONED` from then on.
   */
  EFSCRYPT_STATUS_INTERNAL = 99,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum efscrypt_status efscrypt_status;
#else
typedef uint32_t efscrypt_status;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * A key provider. Free it once all stores opened with it are closed, or before: they keep what
 * they need.
 */
typedef struct efscrypt_provider efscrypt_provider;

/**
 * An open store.
 */
typedef struct efscrypt_store efscrypt_store;

/**
 * Details of a failure. The caller owns it; a function that fails fills it in, and one that
 * succeeds leaves it alone. It never grows.
 */
typedef struct efscrypt_error {
  /**
   * The status that the function returned.
   */
  uint32_t status;
  /**
   * The errno value that a POSIX server would answer.
   */
  int32_t os_error;
  /**
   * What was wrong, with which object, and what to do: UTF-8 with a final NUL, cut short where
   * it is too long. It holds no key, name or content of the store.
   */
  char message[EFSCRYPT_MESSAGE_LEN];
  /**
   * Bytes that a write or an append had written before it failed; else 0. They are part of the
   * file, as after a write of so many.
   */
  uint64_t done;
  /**
   * Zero; for later versions.
   */
  uint64_t reserved[3];
} efscrypt_error;

/**
 * A key service of the caller's. Each callback may be called from any thread, several at once, and
 * may block; it must not call the store, and must not throw, unwind or jump out. It answers 0, or
 * the status of what went wrong: `EFSCRYPT_STATUS_KEY_NOT_FOUND`, `EFSCRYPT_STATUS_KEY_DISABLED`,
 * `EFSCRYPT_STATUS_KEY_DENIED`, `EFSCRYPT_STATUS_KEY_UNREACHABLE`, `EFSCRYPT_STATUS_WRONG_KEY` for
 * what another service or key wrapped, `EFSCRYPT_STATUS_CORRUPT` for what does not authenticate:
 * damaged, or of another context. Any other counts as `EFSCRYPT_STATUS_KEY_DENIED`, with its
 * number in the message.
 *
 * `context` holds `context_len` bytes that must be bound to the wrapped key: unwrap with another
 * context must fail.
 */
typedef struct efscrypt_provider_ops {
  /**
   * `sizeof(efscrypt_provider_ops)`: later versions only add at the end.
   */
  size_t size;
  /**
   * Wraps a key of 32 bytes under the provider key that is called `key`, an id or another name
   * of it. Writes the wrapped key to `blob`, which has room for `EFSCRYPT_BLOB_LEN` bytes, and
   * its length to `*blob_len`, which is 0 before.
   *
   * `id` has room for `EFSCRYPT_KEY_ID_LEN` bytes and holds `key`, with a final NUL. The store
   * keeps what it holds afterwards, and gives that to unwrap: a service whose keys have aliases
   * writes the key's id there, or the store is lost when the alias moves.
   */
  uint32_t (*wrap)(void *userdata,
                   const char *key,
                   const uint8_t *context,
                   size_t context_len,
                   const uint8_t *secret,
                   uint8_t *blob,
                   size_t *blob_len,
                   char *id);
  /**
   * Unwraps a blob, which the provider key of that id wrapped, into 32 bytes at `secret`. All
   * inputs may be hostile.
   */
  uint32_t (*unwrap)(void *userdata,
                     const char *id,
                     const uint8_t *context,
                     size_t context_len,
                     const uint8_t *blob,
                     size_t blob_len,
                     uint8_t *secret);
  /**
   * Called once when the provider is no longer needed, by whoever needed it last; may be NULL.
   */
  void (*free)(void *userdata);
} efscrypt_provider_ops;

/**
 * What a check found. It never grows.
 */
typedef struct efscrypt_check_report {
  /**
   * 1 where nothing is wrong and no space is lost, else 0.
   */
  uint32_t clean;
  /**
   * Zero.
   */
  uint32_t reserved;
  /**
   * Nodes that were read and are as they were written.
   */
  uint64_t nodes;
  /**
   * Places where a node is damaged, or cannot be read.
   */
  uint64_t nodes_damaged;
  /**
   * Things that do not fit together: names, inodes, contents and keys.
   */
  uint64_t findings;
  /**
   * Rows of all trees.
   */
  uint64_t rows;
  /**
   * Inodes, with directories.
   */
  uint64_t inodes;
  /**
   * Directories.
   */
  uint64_t directories;
  /**
   * Names.
   */
  uint64_t entries;
  /**
   * Inodes without a name that wait to be freed.
   */
  uint64_t orphans;
  /**
   * Units of 4 KiB that something owns.
   */
  uint64_t units;
  /**
   * Units in use that nothing owns: lost, and harmless.
   */
  uint64_t units_lost;
  /**
   * Units that something owns and that count as free: what is written next may destroy them.
   */
  uint64_t units_unrecorded;
  /**
   * Units with two owners.
   */
  uint64_t units_shared;
  /**
   * Zero; for later versions.
   */
  uint64_t reserved2[8];
} efscrypt_check_report;

/**
 * What opening found: all zero for a store that was closed. It never grows.
 */
typedef struct efscrypt_recovery {
  /**
   * Records of the log that were applied.
   */
  uint64_t records;
  /**
   * Transactions in them.
   */
  uint64_t transactions;
  /**
   * Bytes of their payloads.
   */
  uint64_t bytes;
  /**
   * Slots of the superblock ring that no writer of this store left there: forged, or written to
   * the wrong place.
   */
  uint32_t rejected_slots;
  /**
   * 1 where opening finished a rewrap that was interrupted, else 0.
   */
  uint32_t finished_rewrap;
  /**
   * Zero; for later versions.
   */
  uint64_t reserved[4];
} efscrypt_recovery;

/**
 * Two texts, UTF-8.
 */
typedef struct efscrypt_pair {
  /**
   * The key.
   */
  const char *key;
  /**
   * The value.
   */
  const char *value;
} efscrypt_pair;

/**
 * The keys of a domain, described. Strings end with a NUL and live as long as the description.
 */
typedef struct efscrypt_domain {
  /**
   * Name of the provider that wraps the domain's key.
   */
  const char *provider;
  /**
   * Provider key under which it is wrapped.
   */
  const char *key_id;
  /**
   * Version of the domain's key.
   */
  uint32_t version;
  /**
   * What the provider says of its key: one of `EFSCRYPT_KEY_UNKNOWN` and the following. A
   * provider by callbacks is not asked, and its keys count as enabled.
   */
  uint32_t key_state;
  /**
   * When the provider key is destroyed, seconds since 1970; 0 unless that is pending.
   */
  uint64_t deletion;
  /**
   * Zero; for later versions.
   */
  uint64_t reserved[3];
} efscrypt_domain;

/**
 * A store, described. The library's: look at it, then free it. Later versions only add at the
 * end, so it is not copied by its size.
 */
typedef struct efscrypt_description {
  /**
   * The store's identity.
   */
  uint8_t id[16];
  /**
   * Its name, which ends with a NUL; NULL where it has none.
   */
  const char *name;
  /**
   * Its tags.
   */
  const struct efscrypt_pair *tags;
  /**
   * How many they are.
   */
  size_t tags_len;
  /**
   * Feature masks: compatible, read-only compatible, incompatible.
   */
  uint64_t features[3];
  /**
   * Creation, nanoseconds since 1970.
   */
  uint64_t created;
  /**
   * Number of the last checkpoint.
   */
  uint64_t generation;
  /**
   * Bytes that files and metadata take.
   */
  uint64_t metered_bytes;
  /**
   * Version of the format.
   */
  uint32_t format;
  /**
   * Zero.
   */
  uint32_t reserved;
  /**
   * Key of names, directories and inodes.
   */
  struct efscrypt_domain metadata;
  /**
   * Key of contents.
   */
  struct efscrypt_domain data;
} efscrypt_description;

/**
 * A time: seconds since 1970 and nanoseconds below one second.
 */
typedef struct efscrypt_time {
  /**
   * Seconds since 1970, negative before.
   */
  int64_t seconds;
  /**
   * Nanoseconds, 0 to 999,999,999.
   */
  uint32_t nanoseconds;
  /**
   * Zero.
   */
  uint32_t reserved;
} efscrypt_time;

/**
 * What tells whether anybody else changed an object. It never grows.
 */
typedef struct efscrypt_before {
  /**
   * Size.
   */
  uint64_t size;
  /**
   * Change attribute.
   */
  uint64_t change;
  /**
   * Last change of contents.
   */
  struct efscrypt_time mtime;
  /**
   * Last change of contents or attributes.
   */
  struct efscrypt_time ctime;
} efscrypt_before;

/**
 * Attributes of an inode at one moment. It never grows.
 */
typedef struct efscrypt_attr {
  /**
   * Inode number, never 0, and never given to another inode, also after this one is gone.
   */
  uint64_t ino;
  /**
   * Another number that is the inode's own, in the order in which inodes were made.
   */
  uint64_t generation;
  /**
   * File type and permission bits, as in `st_mode`.
   */
  uint32_t mode;
  /**
   * Number of names; for a directory 2 plus its subdirectories.
   */
  uint32_t nlink;
  /**
   * Owner.
   */
  uint32_t uid;
  /**
   * Group.
   */
  uint32_t gid;
  /**
   * Bytes of contents or of a link target; for a directory the bytes of its names.
   */
  uint64_t size;
  /**
   * Bytes of the store that the contents take.
   */
  uint64_t space;
  /**
   * Grows with each change of contents or attributes, also through crashes.
   */
  uint64_t change;
  /**
   * Device number of a device node.
   */
  uint64_t rdev;
  /**
   * Number of entries of a directory, without "." and "..".
   */
  uint64_t entries;
  /**
   * Last access.
   */
  struct efscrypt_time atime;
  /**
   * Last change of contents.
   */
  struct efscrypt_time mtime;
  /**
   * Last change of contents or attributes.
   */
  struct efscrypt_time ctime;
  /**
   * Creation.
   */
  struct efscrypt_time btime;
  /**
   * Zero; for later versions.
   */
  uint64_t reserved[7];
} efscrypt_attr;

/**
 * An object right before and right after an operation: nothing happened to it in between. It never
 * grows.
 */
typedef struct efscrypt_wcc {
  /**
   * Before.
   */
  struct efscrypt_before before;
  /**
   * After.
   */
  struct efscrypt_attr after;
} efscrypt_wcc;

/**
 * Who asks. Set it to zero but for `size`, then its fields.
 */
typedef struct efscrypt_credentials {
  /**
   * `sizeof(efscrypt_credentials)`: later versions only add at the end.
   */
  size_t size;
  /**
   * User.
   */
  uint32_t uid;
  /**
   * Group.
   */
  uint32_t gid;
  /**
   * Other groups; NULL where there are none.
   */
  const uint32_t *groups;
  /**
   * How many; at most 2^20.
   */
  size_t groups_len;
} efscrypt_credentials;

/**
 * Attributes to be set, or of a new inode. Set it to zero but for `size`, then each field that is
 * meant together with its `EFSCRYPT_SET_` bit in `valid`; others are ignored. Of a new inode, what
 * is not set has its default: owner and group 0, all times now, and permission bits for the owner
 * alone.
 */
typedef struct efscrypt_set_attr {
  /**
   * `sizeof(efscrypt_set_attr)`: later versions only add at the end.
   */
  size_t size;
  /**
   * Which fields count: `EFSCRYPT_SET_` bits.
   */
  uint32_t valid;
  /**
   * Permission bits; others are ignored.
   */
  uint32_t mode;
  /**
   * Owner. Setting owner or group of anything but a directory takes away its set-ID bits, as
   * the caller's standing says (`efscrypt_fs_setattr_as`), unless the mode is set too.
   */
  uint32_t uid;
  /**
   * Group. What is made in a directory with the set-group-ID bit has the directory's.
   */
  uint32_t gid;
  /**
   * Bytes of contents; not for a new inode.
   */
  uint64_t file_size;
  /**
   * Last access.
   */
  struct efscrypt_time atime;
  /**
   * Last change of contents.
   */
  struct efscrypt_time mtime;
  /**
   * Do nothing unless this is the ctime: `EFSCRYPT_STATUS_NOT_SYNC`; not for a new inode.
   */
  struct efscrypt_time guard;
  /**
   * Permission bits that a new inode does not get, unless its directory has a default access
   * control list; only for a new inode.
   */
  uint32_t umask;
  /**
   * Zero.
   */
  uint32_t reserved;
} efscrypt_set_attr;

/**
 * What a call of `efscrypt_fs_defragment` did. It never grows.
 */
typedef struct efscrypt_defragmented {
  /**
   * The offset to go on at; `UINT64_MAX` where nothing follows.
   */
  uint64_t next;
  /**
   * How many requests of the device read what was looked at in order, before.
   */
  uint64_t before;
  /**
   * How many do now.
   */
  uint64_t after;
  /**
   * Bytes that were moved.
   */
  uint64_t moved;
} efscrypt_defragmented;

/**
 * An entry of a directory, as it is read. Valid during the call that shows it. Later versions only
 * add at the end, so it is not copied by its size.
 */
typedef struct efscrypt_dir_entry {
  /**
   * The name, without a final NUL.
   */
  const uint8_t *name;
  /**
   * Its length.
   */
  size_t name_len;
  /**
   * What it leads to.
   */
  uint64_t ino;
  /**
   * Where to go on behind this entry: below 2^63, and 3 or more except for "." and "..". Valid
   * as long as the directory exists, whatever happens to this entry or others, and after
   * reopening.
   */
  uint64_t cookie;
  /**
   * The type bits of `st_mode`.
   */
  uint32_t kind;
  /**
   * Zero.
   */
  uint32_t reserved;
  /**
   * Attributes, from `efscrypt_fs_readdir_plus`; NULL for an entry that was removed meanwhile,
   * or whose inode cannot be read.
   */
  const struct efscrypt_attr *attr;
} efscrypt_dir_entry;

/**
 * Called for each entry of a directory. Returns 0 to go on, anything else to stop: that entry
 * counts as not read. It may call the store, and must not throw, unwind or jump out.
 */
typedef int32_t (*efscrypt_visit)(void *userdata, const struct efscrypt_dir_entry *entry);

/**
 * A file handle: what a server gives its clients, who cannot make one of a file that they were
 * never shown. It stays the same through renames, restarts and changes of keys, and never leads to
 * another file. Only the first `len` bytes matter: 48 now, and the same for all handles of a
 * store, so a server has room for some of its own in the 64 of NFSv3. 64 bytes with its length; it
 * never grows.
 */
typedef struct efscrypt_handle {
  /**
   * How many bytes it has.
   */
  uint32_t len;
  /**
   * The bytes; zeros behind `len`.
   */
  uint8_t bytes[EFSCRYPT_HANDLE_LEN];
} efscrypt_handle;

/**
 * Answer to a creation. It never grows.
 */
typedef struct efscrypt_created {
  /**
   * The inode, new or found.
   */
  struct efscrypt_attr attr;
  /**
   * The directory before and after.
   */
  struct efscrypt_wcc dir;
  /**
   * 1 where the inode is new, else 0.
   */
  uint32_t created;
  /**
   * Zero.
   */
  uint32_t reserved;
} efscrypt_created;

/**
 * Space and limits. It never grows.
 */
typedef struct efscrypt_statfs {
  /**
   * Bytes of the grain in which space is given out.
   */
  uint32_t block_size;
  /**
   * Longest name, bytes.
   */
  uint32_t name_max;
  /**
   * Most links of an inode.
   */
  uint32_t link_max;
  /**
   * Zero.
   */
  uint32_t reserved;
  /**
   * Bytes in all; of a store in a file those that it has, and those that its host has free.
   */
  uint64_t total;
  /**
   * Bytes that are not in use. What removed files hold until it is freed counts as used, and is
   * freed when a writer needs it.
   */
  uint64_t free;
  /**
   * Largest file, bytes.
   */
  uint64_t size_max;
  /**
   * Bytes that a large file can still take: `free` without what is kept so that a full store can
   * be emptied, and without what the metadata for them takes.
   */
  uint64_t available;
  /**
   * Zero; for later versions.
   */
  uint64_t reserved2[3];
} efscrypt_statfs;

/**
 * Options of a store. Set it to zero but for `size`; zero fields mean the default. Nothing of it
 * is kept.
 */
typedef struct efscrypt_options {
  /**
   * `sizeof(efscrypt_options)`: later versions only add at the end.
   */
  size_t size;
  /**
   * Bytes of memory for metadata; by default 64 MiB, or an eighth of what this process may use
   * where that is less: of the machine's memory and the limits of its control groups.
   */
  size_t cache_bytes;
  /**
   * Inodes in memory beside those in use, about 400 bytes each, at most 2^24; 32,768 by default.
   */
  size_t inode_cache;
  /**
   * Names in memory, about 100 bytes each, at most 2^24; 65,536 by default.
   */
  size_t name_cache;
  /**
   * Bytes of the log of a new store, 512 KiB to 1 GiB; 32 MiB by default.
   */
  uint64_t log_bytes;
  /**
   * Name of a new store, up to 255 bytes; may be NULL.
   */
  const char *name;
  /**
   * Tags of a new store, up to 50: keys up to 60 bytes, values up to 1,024.
   */
  const struct efscrypt_pair *tags;
  /**
   * Number of tags.
   */
  size_t tags_len;
  /**
   * Pairs that are bound to the wraps of the store's keys, up to 30: the same are needed
   * whenever the store is opened.
   */
  const struct efscrypt_pair *context;
  /**
   * Number of pairs.
   */
  size_t context_len;
  /**
   * Owner of the root directory of a new store.
   */
  uint32_t root_uid;
  /**
   * Its group.
   */
  uint32_t root_gid;
  /**
   * Its permission bits; 0755 by default.
   */
  uint32_t root_mode;
  /**
   * Not 0: open for reading only.
   */
  uint8_t read_only;
  /**
   * Not 0: open without the contents key where it cannot be unlocked.
   */
  uint8_t data_optional;
  /**
   * Not 0: fail where key memory cannot be locked into RAM.
   */
  uint8_t strict_memory;
  /**
   * Not 0: every change is durable when its function returns.
   */
  uint8_t durable;
  /**
   * What opening for writing does about another opening that may still have the store open and
   * that no lock shows, on another host, in another container, or by another name of the device:
   * 0 watches it and fails with `EFSCRYPT_STATUS_IN_USE` as soon as it moves, 1 takes the store
   * over at once, 2 fails at once. What was taken over answers `EFSCRYPT_STATUS_TAKEN_OVER`.
   */
  uint32_t takeover;
  /**
   * How long it is watched before the store is taken over, seconds; 0 for 30.
   */
  uint32_t takeover_after;
  /**
   * Milliseconds that opening waits for who has the store open: it may be about to close. Not at
   * all by default.
   */
  uint32_t lock_wait_ms;
  /**
   * Zero.
   */
  uint32_t reserved;
} efscrypt_options;

/**
 * What `efscrypt_store_rewrap` puts under which provider key, each domain by its name. Set it to
 * zero but for `size`; a NULL provider leaves its domain as it is. Nothing of it is kept but the
 * providers.
 */
typedef struct efscrypt_rewrap {
  /**
   * `sizeof(efscrypt_rewrap)`: later versions only add at the end.
   */
  size_t size;
  /**
   * New provider of names, directories and inodes, or NULL.
   */
  const struct efscrypt_provider *metadata;
  /**
   * Its key: an id, or another name of it.
   */
  const char *metadata_key;
  /**
   * New provider of contents, or NULL.
   */
  const struct efscrypt_provider *data;
  /**
   * Its key.
   */
  const char *data_key;
} efscrypt_rewrap;

/**
 * What a trim gave back. It never grows.
 */
typedef struct efscrypt_trimmed {
  /**
   * Bytes that were free, and that the device was told so, also where it knew it before.
   */
  uint64_t discarded;
  /**
   * Bytes by which the device became shorter.
   */
  uint64_t cut;
  /**
   * Bytes that the device takes up less at its host; `UINT64_MAX` where it does not say.
   */
  uint64_t returned;
  /**
   * 1 where the device can give space back at all, else 0.
   */
  uint32_t supported;
  /**
   * Zero.
   */
  uint32_t reserved;
  /**
   * Zero; for later versions.
   */
  uint64_t reserved2[4];
} efscrypt_trimmed;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Makes a provider that hands every call to another one and records it in a file: one JSON object
 * a line, each chained to the one before by a hash, durable before the call returns. A call that
 * cannot be recorded fails. The file is made with mode 0600 where it is not there; several
 * programs may use one. `principal` says for whom the calls are made, in words of the caller's, or
 * is NULL.
 *
 * The other provider may be freed. Stores that are opened with it leave no record.
 *
 * # Safety
 * `inner` is valid; `file` is a NUL-terminated string, and so is `principal` unless it is NULL;
 * `audited` is valid for a write.
 */
efscrypt_status efscrypt_provider_audit(const struct efscrypt_provider *inner,
                                        const char *file,
                                        const char *principal,
                                        struct efscrypt_provider **audited,
                                        struct efscrypt_error *error);

/**
 * Verifies a file of records from the first to the last, and sets `*records` to how many there
 * are. `EFSCRYPT_STATUS_CORRUPT` where one is not what was written there, or is missing in
 * between. A log that was cut at its end looks like a shorter one.
 *
 * # Safety
 * `file` is a NUL-terminated string; `records` is valid for a write.
 */
efscrypt_status efscrypt_audit_verify(const char *file,
                                      uint64_t *records,
                                      struct efscrypt_error *error);

/**
 * Makes a provider of the caller's callbacks. `name` is kept in the store beside each wrapped key:
 * 1 to 64 of a-z, 0-9 and '-'. `ops` is copied. On success `userdata` is the provider's until it
 * calls `free`; on a failure it stays the caller's, and `free` is not called.
 *
 * # Safety
 * `name` is a NUL-terminated string; `ops` points to `ops->size` bytes; the callbacks and
 * `userdata` may be used from any thread until `free` was called; `provider` is valid for a write.
 */
efscrypt_status efscrypt_provider_create(const char *name,
                                         const struct efscrypt_provider_ops *ops,
                                         void *userdata,
                                         struct efscrypt_provider **provider,
                                         struct efscrypt_error *error);

/**
 * Verifies every copy of every block of metadata, what is in use and what is free, and that names,
 * directories, inodes and keys fit together. Needs no data key: contents are not read; read them
 * to verify them. What it finds wrong is no failure: see `report->clean`. Expects that nobody
 * changes anything meanwhile. Repairs nothing; writes a checkpoint first unless the store was
 * opened read-only. Takes about 250 bytes of memory for each inode; `efscrypt_store_check_within`
 * can do with less.
 *
 * # Safety
 * `store` is valid; `report` is valid for a write.
 */
efscrypt_status efscrypt_store_check(const struct efscrypt_store *store,
                                     struct efscrypt_check_report *report,
                                     struct efscrypt_error *error);

/**
 * As `efscrypt_store_check`, in about `memory` bytes of memory beside the cache of the store, 1
 * MiB at least: what does not fit is checked in parts, each of which reads all metadata again. 16
 * bytes for each directory come on top then.
 *
 * # Safety
 * As for `efscrypt_store_check`.
 */
efscrypt_status efscrypt_store_check_within(const struct efscrypt_store *store,
                                            size_t memory,
                                            struct efscrypt_check_report *report,
                                            struct efscrypt_error *error);

/**
 * Sets `*recovery` to what opening found in the log: changes since the last checkpoint of a store
 * that was not closed.
 *
 * # Safety
 * `store` is valid; `recovery` is valid for a write.
 */
efscrypt_status efscrypt_store_recovery(const struct efscrypt_store *store,
                                        struct efscrypt_recovery *recovery,
                                        struct efscrypt_error *error);

/**
 * Describes a store, with two calls of its providers, whose failure leaves gaps and is no error.
 * Free `*description` with `efscrypt_description_free`; it does not need the store.
 *
 * # Safety
 * `store` is valid; `description` is valid for a write.
 */
efscrypt_status efscrypt_store_describe(const struct efscrypt_store *store,
                                        const struct efscrypt_description **description,
                                        struct efscrypt_error *error);

/**
 * Frees a description; NULL is fine.
 *
 * # Safety
 * `description` came from this library and was not freed before.
 */
void efscrypt_description_free(const struct efscrypt_description *description);

/**
 * The errno value of a status; 0 for success, EIO for a number that does not exist.
 */
int32_t efscrypt_status_errno(uint32_t status);

/**
 * Reads an access control list into `value`, as the value of Linux's `system.posix_acl_access` or
 * `system.posix_acl_default`, version 2, and sets `*len` to its length, at most 4,092 bytes.
 * `kind` is `EFSCRYPT_ACL_ACCESS` or `EFSCRYPT_ACL_DEFAULT`. Where `room` is 0 only the length is
 * set; `EFSCRYPT_STATUS_BUFFER_TOO_SMALL` where it is less than that.
 * `EFSCRYPT_STATUS_NO_ATTRIBUTE` where there is none: then the mode says who may do what.
 *
 * # Safety
 * `store` is valid; `value` is valid for writes of `room` bytes; `len` is valid for a write.
 */
efscrypt_status efscrypt_fs_get_acl(const struct efscrypt_store *store,
                                    uint64_t ino,
                                    uint32_t kind,
                                    uint8_t *value,
                                    size_t room,
                                    size_t *len,
                                    struct efscrypt_error *error);

/**
 * Sets an access control list, in the form in which `efscrypt_fs_get_acl` gives it out, or removes
 * it where `value_len` is 0. An access list sets the permission bits, the group's to its mask, and
 * takes the set-group-ID bit away; one that says no more than a mode is kept as the mode. Removing
 * one leaves the mode: its mask becomes the right of the owning group. Who may set lists is up to
 * the caller. Durable after `efscrypt_store_commit`.
 *
 * # Safety
 * `store` is valid; `value` has `value_len` bytes; `file` is NULL or valid for a write.
 */
efscrypt_status efscrypt_fs_set_acl(const struct efscrypt_store *store,
                                    uint64_t ino,
                                    uint32_t kind,
                                    const uint8_t *value,
                                    size_t value_len,
                                    struct efscrypt_wcc *file,
                                    struct efscrypt_error *error);

/**
 * As `efscrypt_fs_set_acl`, for a caller of a standing, as `efscrypt_fs_write_as` takes it: the
 * set-group-ID bit stays unless that is `EFSCRYPT_STANDING_OTHER`.
 *
 * # Safety
 * As there.
 */
efscrypt_status efscrypt_fs_set_acl_as(const struct efscrypt_store *store,
                                       uint32_t standing,
                                       uint64_t ino,
                                       uint32_t kind,
                                       const uint8_t *value,
                                       size_t value_len,
                                       struct efscrypt_wcc *file,
                                       struct efscrypt_error *error);

/**
 * Says whether a user gets all rights of `want`, a sum of `EFSCRYPT_READ`, `EFSCRYPT_WRITE` and
 * `EFSCRYPT_EXECUTE`, by the owner and the access control list or the mode: `*granted` is 1, or 0.
 * What the superuser may do, and what a read-only store forbids, is up to the caller.
 *
 * # Safety
 * `store` is valid; `who` points to as many bytes as its size says, and its groups are as many as
 * it says; `granted` is NULL or valid for a write.
 */
efscrypt_status efscrypt_fs_access(const struct efscrypt_store *store,
                                   uint64_t ino,
                                   const struct efscrypt_credentials *who,
                                   uint32_t want,
                                   uint32_t *granted,
                                   struct efscrypt_error *error);

/**
 * As `efscrypt_fs_write`, for a caller who is one of `EFSCRYPT_STANDING_OTHER`,
 * `EFSCRYPT_STANDING_MEMBER`, `EFSCRYPT_STANDING_PRIVILEGED` to the file.
 *
 * # Safety
 * As there.
 */
efscrypt_status efscrypt_fs_write_as(const struct efscrypt_store *store,
                                     uint32_t standing,
                                     uint64_t ino,
                                     uint64_t offset,
                                     const uint8_t *buf,
                                     size_t len,
                                     struct efscrypt_wcc *file,
                                     struct efscrypt_error *error);

/**
 * As `efscrypt_fs_write_delegated`, for a caller of a standing, as `efscrypt_fs_write_as` takes
 * it.
 *
 * # Safety
 * As there.
 */
efscrypt_status efscrypt_fs_write_delegated_as(const struct efscrypt_store *store,
                                               uint32_t standing,
                                               uint64_t ino,
                                               uint64_t offset,
                                               const uint8_t *buf,
                                               size_t len,
                                               struct efscrypt_wcc *file,
                                               struct efscrypt_error *error);

/**
 * As `efscrypt_fs_append`, for a caller of a standing, as `efscrypt_fs_write_as` takes it.
 *
 * # Safety
 * As there.
 */
efscrypt_status efscrypt_fs_append_as(const struct efscrypt_store *store,
                                      uint32_t standing,
                                      uint64_t ino,
                                      const uint8_t *buf,
                                      size_t len,
                                      struct efscrypt_wcc *file,
                                      struct efscrypt_error *error);

/**
 * As `efscrypt_fs_punch_hole`, for a caller of a standing, as `efscrypt_fs_write_as` takes it.
 *
 * # Safety
 * As there.
 */
efscrypt_status efscrypt_fs_punch_hole_as(const struct efscrypt_store *store,
                                          uint32_t standing,
                                          uint64_t ino,
                                          uint64_t offset,
                                          uint64_t len,
                                          struct efscrypt_wcc *file,
                                          struct efscrypt_error *error);

/**
 * As `efscrypt_fs_setattr`, for a caller of a standing, as `efscrypt_fs_write_as` takes it.
 *
 * # Safety
 * As there.
 */
efscrypt_status efscrypt_fs_setattr_as(const struct efscrypt_store *store,
                                       uint32_t standing,
                                       uint64_t ino,
                                       const struct efscrypt_set_attr *set,
                                       struct efscrypt_wcc *file,
                                       struct efscrypt_error *error);

/**
 * Asks for the space of `len` bytes from `offset` on, which keep their contents. Fails at once
 * with `EFSCRYPT_STATUS_NO_SPACE` where the store cannot hold them, and sets the size as `beyond`
 * says: `EFSCRYPT_BEYOND_GROW` or `EFSCRYPT_BEYOND_KEEP`. Space is not set aside: a store that
 * others fill meanwhile may refuse a later write all the same.
 *
 * # Safety
 * `store` is valid; `file` is NULL or valid for a write.
 */
efscrypt_status efscrypt_fs_allocate(const struct efscrypt_store *store,
                                     uint64_t ino,
                                     uint64_t offset,
                                     uint64_t len,
                                     uint32_t beyond,
                                     struct efscrypt_wcc *file,
                                     struct efscrypt_error *error);

/**
 * Makes zeros of `len` bytes from `offset` on, as `efscrypt_fs_punch_hole` does, and sets the size
 * as `beyond` says: `EFSCRYPT_BEYOND_GROW` or `EFSCRYPT_BEYOND_KEEP`.
 *
 * # Safety
 * As for `efscrypt_fs_allocate`.
 */
efscrypt_status efscrypt_fs_zero_range(const struct efscrypt_store *store,
                                       uint64_t ino,
                                       uint64_t offset,
                                       uint64_t len,
                                       uint32_t beyond,
                                       struct efscrypt_wcc *file,
                                       struct efscrypt_error *error);

/**
 * As `efscrypt_fs_allocate`, for a caller of a standing, as `efscrypt_fs_write_as` takes it.
 *
 * # Safety
 * As there.
 */
efscrypt_status efscrypt_fs_allocate_as(const struct efscrypt_store *store,
                                        uint32_t standing,
                                        uint64_t ino,
                                        uint64_t offset,
                                        uint64_t len,
                                        uint32_t beyond,
                                        struct efscrypt_wcc *file,
                                        struct efscrypt_error *error);

/**
 * As `efscrypt_fs_zero_range`, for a caller of a standing, as `efscrypt_fs_write_as` takes it.
 *
 * # Safety
 * As there.
 */
efscrypt_status efscrypt_fs_zero_range_as(const struct efscrypt_store *store,
                                          uint32_t standing,
                                          uint64_t ino,
                                          uint64_t offset,
                                          uint64_t len,
                                          uint32_t beyond,
                                          struct efscrypt_wcc *file,
                                          struct efscrypt_error *error);

/**
 * Closes an inode as `efscrypt_fs_close` does, `times` times at once: for servers whose clients
 * give back many references together, such as FUSE. `EFSCRYPT_STATUS_INVALID_ARGUMENT` for an
 * inode that is not open so many times: it stays as it is.
 *
 * # Safety
 * `store` is valid.
 */
efscrypt_status efscrypt_fs_close_times(const struct efscrypt_store *store,
                                        uint64_t ino,
                                        uint64_t times,
                                        struct efscrypt_error *error);

/**
 * Closes everything that is open: for a server whose clients are gone.
 *
 * # Safety
 * `store` is valid.
 */
efscrypt_status efscrypt_fs_close_all(const struct efscrypt_store *store,
                                      struct efscrypt_error *error);

/**
 * The attributes of an inode.
 *
 * # Safety
 * `store` is valid; `attr` is NULL or valid for a write.
 */
efscrypt_status efscrypt_fs_getattr(const struct efscrypt_store *store,
                                    uint64_t ino,
                                    struct efscrypt_attr *attr,
                                    struct efscrypt_error *error);

/**
 * Whether a mode is a directory's.
 */
bool efscrypt_mode_is_dir(uint32_t mode);

/**
 * Moves contents of a regular file that stand in many pieces on the device to where they stand
 * together: those of up to 16 MiB from `offset` on. What would not gain by it stays, and so does
 * what no run of free space is long enough for. Contents, size, times and the change attribute
 * stay as they are. Repeat from `next` of `*done` on, which may be NULL; each step is a
 * transaction, so it may end anywhere.
 *
 * # Safety
 * `store` is valid; `done` is NULL or valid for a write.
 */
efscrypt_status efscrypt_fs_defragment(const struct efscrypt_store *store,
                                       uint64_t ino,
                                       uint64_t offset,
                                       struct efscrypt_defragmented *done,
                                       struct efscrypt_error *error);

/**
 * Calls `visit` for the entries of a directory behind `cookie`; 0 starts with the first. The
 * entries "." and ".." come first. Sets `*end`, which may be NULL, to whether the last was read.
 * Entries that are neither added nor removed meanwhile are seen exactly once, also where reading
 * goes on after reopening.
 *
 * A directory of which a part cannot be read fails with `EFSCRYPT_STATUS_CORRUPT` or `_IO` after
 * what is behind that part was shown too, until `visit` answered other than 0; `*end` is then not
 * set. Such a failure is not the end: call again with the cookie of the last entry for which
 * `visit` answered 0. A call that fails without any such entry has nothing behind it.
 *
 * # Safety
 * `store` is valid; `visit` may be called with `userdata`, from this thread; `end` is NULL or
 * valid for a write.
 */
efscrypt_status efscrypt_fs_readdir(const struct efscrypt_store *store,
                                    uint64_t dir,
                                    uint64_t cookie,
                                    efscrypt_visit visit,
                                    void *userdata,
                                    bool *end,
                                    struct efscrypt_error *error);

/**
 * As `efscrypt_fs_readdir`, with the attributes of each entry.
 *
 * # Safety
 * As there.
 */
efscrypt_status efscrypt_fs_readdir_plus(const struct efscrypt_store *store,
                                         uint64_t dir,
                                         uint64_t cookie,
                                         efscrypt_visit visit,
                                         void *userdata,
                                         bool *end,
                                         struct efscrypt_error *error);

/**
 * As `efscrypt_fs_write`, and as durable as asked for when it returns, with all that came before.
 * `*committed`, which may be NULL, receives how durable it is, at least as was asked;
 * `*verifier`, which may be NULL, what `efscrypt_store_write_verifier` would say. Where making it
 * durable fails the store is poisoned, and the write may or may not be durable.
 *
 * # Safety
 * As for `efscrypt_fs_write`; `committed` and `verifier` are NULL or valid for a write.
 */
efscrypt_status efscrypt_fs_write_stable(const struct efscrypt_store *store,
                                         uint64_t ino,
                                         uint64_t offset,
                                         const uint8_t *buf,
                                         size_t len,
                                         uint32_t stability,
                                         struct efscrypt_wcc *file,
                                         uint32_t *committed,
                                         uint64_t *verifier,
                                         struct efscrypt_error *error);

/**
 * Makes what was written to a range of a file durable, with all that came before; a `len` of 0
 * means up to the end. `*verifier`, which may be NULL, receives the write verifier: where it is
 * the one that a write answered with, that write is durable now; where it is another, the store
 * was opened since, and the client has to write again.
 *
 * # Safety
 * `store` is valid; `verifier` is NULL or valid for a write.
 */
efscrypt_status efscrypt_fs_commit(const struct efscrypt_store *store,
                                   uint64_t ino,
                                   uint64_t offset,
                                   uint64_t len,
                                   uint64_t *verifier,
                                   struct efscrypt_error *error);

/**
 * Opens an inode: it stays readable and writable until it is closed, also without a name. Opens
 * are counted, are not part of the store, and end with its closing. Nothing else needs an inode to
 * be open.
 *
 * # Safety
 * `store` is valid.
 */
efscrypt_status efscrypt_fs_open(const struct efscrypt_store *store,
                                 uint64_t ino,
                                 struct efscrypt_error *error);

/**
 * Closes an inode as often as it was opened. The last close of one without a name frees it.
 *
 * # Safety
 * `store` is valid.
 */
efscrypt_status efscrypt_fs_close(const struct efscrypt_store *store,
                                  uint64_t ino,
                                  struct efscrypt_error *error);

/**
 * Reads up to `len` bytes from `offset`, sets `*done` to how many, and `*eof`, which may be NULL,
 * to whether the last of them is the last of the file: fewer only there. Every byte was
 * authenticated; on an error the buffer holds no contents. The buffer need not have been written
 * before.
 *
 * # Safety
 * `store` is valid; `buf` is valid for writes of `len` bytes; `done` is valid for a write, and
 * `eof` NULL or that.
 */
efscrypt_status efscrypt_fs_read(const struct efscrypt_store *store,
                                 uint64_t ino,
                                 uint64_t offset,
                                 uint8_t *buf,
                                 size_t len,
                                 size_t *done,
                                 bool *eof,
                                 struct efscrypt_error *error);

/**
 * Writes all of `len` bytes at `offset`, growing the file. Takes away its set-user-ID and
 * set-group-ID bits; `efscrypt_fs_write_as` asks who writes. After a failure a first part of them
 * may be written, in whole steps of at most 1 MiB: `error->done` says how many bytes. `file`
 * receives what became of the file. Durable after `efscrypt_store_commit`.
 *
 * # Safety
 * `store` is valid; `buf` has `len` bytes; `file` is NULL or valid for a write.
 */
efscrypt_status efscrypt_fs_write(const struct efscrypt_store *store,
                                  uint64_t ino,
                                  uint64_t offset,
                                  const uint8_t *buf,
                                  size_t len,
                                  struct efscrypt_wcc *file,
                                  struct efscrypt_error *error);

/**
 * As `efscrypt_fs_write`, for a client that keeps the file's mtime itself and sets it by
 * `efscrypt_fs_setattr`: the write leaves it, and moves ctime and the change attribute. So a
 * client hands over writes that it gathered, as with NFSv4 delegated timestamps (RFC 9754).
 *
 * # Safety
 * As there.
 */
efscrypt_status efscrypt_fs_write_delegated(const struct efscrypt_store *store,
                                            uint64_t ino,
                                            uint64_t offset,
                                            const uint8_t *buf,
                                            size_t len,
                                            struct efscrypt_wcc *file,
                                            struct efscrypt_error *error);

/**
 * Writes all of `len` bytes at the end of a file, wherever that is by then. Other than that as
 * `efscrypt_fs_write`; other writers may come between its steps of at most 1 MiB.
 *
 * # Safety
 * As for `efscrypt_fs_write`.
 */
efscrypt_status efscrypt_fs_append(const struct efscrypt_store *store,
                                   uint64_t ino,
                                   const uint8_t *buf,
                                   size_t len,
                                   struct efscrypt_wcc *file,
                                   struct efscrypt_error *error);

/**
 * Makes a hole of `len` bytes from `offset` on: they read as zeros, and whole units of 4 KiB are
 * given back. The size stays. Durable after `efscrypt_store_commit`.
 *
 * # Safety
 * `store` is valid; `file` is NULL or valid for a write.
 */
efscrypt_status efscrypt_fs_punch_hole(const struct efscrypt_store *store,
                                       uint64_t ino,
                                       uint64_t offset,
                                       uint64_t len,
                                       struct efscrypt_wcc *file,
                                       struct efscrypt_error *error);

/**
 * Sets `*found` to the first byte at or after `offset` that is not in a hole, or to `UINT64_MAX`
 * where only a hole, or nothing, follows.
 *
 * # Safety
 * `store` is valid; `found` is valid for a write.
 */
efscrypt_status efscrypt_fs_seek_data(const struct efscrypt_store *store,
                                      uint64_t ino,
                                      uint64_t offset,
                                      uint64_t *found,
                                      struct efscrypt_error *error);

/**
 * Sets `*found` to the first byte at or after `offset` that is in a hole, as which the end of the
 * file counts, or to `UINT64_MAX` for an offset at or behind the end.
 *
 * # Safety
 * As for `efscrypt_fs_seek_data`.
 */
efscrypt_status efscrypt_fs_seek_hole(const struct efscrypt_store *store,
                                      uint64_t ino,
                                      uint64_t offset,
                                      uint64_t *found,
                                      struct efscrypt_error *error);

/**
 * Reads the target of a symbolic link into `buf`, without a final NUL, and sets `*len` to its
 * length. Where `room` is 0 only the length is set; `EFSCRYPT_STATUS_BUFFER_TOO_SMALL` where it is
 * less than that.
 *
 * # Safety
 * `store` is valid; `buf` is valid for writes of `room` bytes; `len` is valid for a write.
 */
efscrypt_status efscrypt_fs_readlink(const struct efscrypt_store *store,
                                     uint64_t ino,
                                     uint8_t *buf,
                                     size_t room,
                                     size_t *len,
                                     struct efscrypt_error *error);

/**
 * Makes everything that happened to an inode durable; and with it all that came before, as
 * `efscrypt_store_commit` does.
 *
 * # Safety
 * `store` is valid.
 */
efscrypt_status efscrypt_fs_fsync(const struct efscrypt_store *store,
                                  uint64_t ino,
                                  struct efscrypt_error *error);

/**
 * The handle of an inode.
 *
 * # Safety
 * `store` is valid; `handle` is valid for a write.
 */
efscrypt_status efscrypt_fs_handle(const struct efscrypt_store *store,
                                   uint64_t ino,
                                   struct efscrypt_handle *handle,
                                   struct efscrypt_error *error);

/**
 * The inode of the `handle_len` bytes of a handle, which may come from a hostile client.
 * `EFSCRYPT_STATUS_BAD_HANDLE` for bytes that this file system never gave out,
 * `EFSCRYPT_STATUS_STALE` where the inode is gone.
 *
 * # Safety
 * `store` is valid; `handle` has `handle_len` bytes; `attr` is NULL or valid for a write.
 */
efscrypt_status efscrypt_fs_by_handle(const struct efscrypt_store *store,
                                      const uint8_t *handle,
                                      size_t handle_len,
                                      struct efscrypt_attr *attr,
                                      struct efscrypt_error *error);

/**
 * The attributes of the entry `name` of a directory; "." is the directory and ".." its parent.
 *
 * # Safety
 * `store` is valid; `name` has `name_len` bytes; `attr` is NULL or valid for a write.
 */
efscrypt_status efscrypt_fs_lookup(const struct efscrypt_store *store,
                                   uint64_t dir,
                                   const uint8_t *name,
                                   size_t name_len,
                                   struct efscrypt_attr *attr,
                                   struct efscrypt_error *error);

/**
 * Makes an empty file, with permission bits 0600 unless `set` says others. `how` is one of
 * `EFSCRYPT_CREATE_GUARDED`, `EFSCRYPT_CREATE_UNCHECKED`, `EFSCRYPT_CREATE_EXCLUSIVE`; only the
 * last has a verifier, of 8 bytes. Durable after `efscrypt_store_commit`.
 *
 * # Safety
 * `store` is valid; `name` has `name_len` bytes; `set` is NULL or points to as many bytes as its
 * size says; `verifier` is NULL or has 8 bytes; `created` is NULL or valid for a write.
 */
efscrypt_status efscrypt_fs_create(const struct efscrypt_store *store,
                                   uint64_t dir,
                                   const uint8_t *name,
                                   size_t name_len,
                                   const struct efscrypt_set_attr *set,
                                   uint32_t how,
                                   const uint8_t *verifier,
                                   struct efscrypt_created *created,
                                   struct efscrypt_error *error);

/**
 * Makes a directory, with permission bits 0700 unless `set` says others. Durable after
 * `efscrypt_store_commit`.
 *
 * # Safety
 * As for `efscrypt_fs_create`.
 */
efscrypt_status efscrypt_fs_mkdir(const struct efscrypt_store *store,
                                  uint64_t dir,
                                  const uint8_t *name,
                                  size_t name_len,
                                  const struct efscrypt_set_attr *set,
                                  struct efscrypt_created *created,
                                  struct efscrypt_error *error);

/**
 * Makes a symbolic link to a target of 1 to 4,095 bytes without NUL, with permission bits 0777
 * unless `set` says others. The target is contents: the contents key has to be there. Durable
 * after `efscrypt_store_commit`.
 *
 * # Safety
 * As for `efscrypt_fs_create`, and `target` has `target_len` bytes.
 */
efscrypt_status efscrypt_fs_symlink(const struct efscrypt_store *store,
                                    uint64_t dir,
                                    const uint8_t *name,
                                    size_t name_len,
                                    const uint8_t *target,
                                    size_t target_len,
                                    const struct efscrypt_set_attr *set,
                                    struct efscrypt_created *created,
                                    struct efscrypt_error *error);

/**
 * Makes a named pipe, a socket or a device node: `kind` has the type bits of `st_mode`, other bits
 * are ignored. `rdev` is a device's number. Permission bits are 0600 unless `set` says others.
 * Durable after `efscrypt_store_commit`.
 *
 * # Safety
 * As for `efscrypt_fs_create`.
 */
efscrypt_status efscrypt_fs_mknod(const struct efscrypt_store *store,
                                  uint64_t dir,
                                  const uint8_t *name,
                                  size_t name_len,
                                  uint32_t kind,
                                  uint64_t rdev,
                                  const struct efscrypt_set_attr *set,
                                  struct efscrypt_created *created,
                                  struct efscrypt_error *error);

/**
 * Gives an inode, of anything but a directory, one more name. `inode` and `parent` receive what
 * became of the inode and of the directory. Durable after `efscrypt_store_commit`.
 *
 * # Safety
 * `store` is valid; `name` has `name_len` bytes; outputs are NULL or valid for a write.
 */
efscrypt_status efscrypt_fs_link(const struct efscrypt_store *store,
                                 uint64_t ino,
                                 uint64_t dir,
                                 const uint8_t *name,
                                 size_t name_len,
                                 struct efscrypt_wcc *inode,
                                 struct efscrypt_wcc *parent,
                                 struct efscrypt_error *error);

/**
 * Removes a name that is not a directory's. The last name of an inode frees its contents, once
 * nobody has it open; most of what a large file holds is freed by `efscrypt_store_maintain`.
 * Durable after `efscrypt_store_commit`.
 *
 * # Safety
 * `store` is valid; `name` has `name_len` bytes; `parent` is NULL or valid for a write.
 */
efscrypt_status efscrypt_fs_unlink(const struct efscrypt_store *store,
                                   uint64_t dir,
                                   const uint8_t *name,
                                   size_t name_len,
                                   struct efscrypt_wcc *parent,
                                   struct efscrypt_error *error);

/**
 * Removes an empty directory. Durable after `efscrypt_store_commit`.
 *
 * # Safety
 * As for `efscrypt_fs_unlink`.
 */
efscrypt_status efscrypt_fs_rmdir(const struct efscrypt_store *store,
                                  uint64_t dir,
                                  const uint8_t *name,
                                  size_t name_len,
                                  struct efscrypt_wcc *parent,
                                  struct efscrypt_error *error);

/**
 * Gives an entry another name, in the same or another directory, in one step also for readers and
 * through a crash. `how` is one of `EFSCRYPT_RENAME_REPLACE`, `EFSCRYPT_RENAME_NO_REPLACE`,
 * `EFSCRYPT_RENAME_EXCHANGE`. `from_parent` and `to_parent` receive what became of the
 * directories, the same where they are one. Durable after `efscrypt_store_commit`.
 *
 * # Safety
 * `store` is valid; the names have their lengths; outputs are NULL or valid for a write.
 */
efscrypt_status efscrypt_fs_rename(const struct efscrypt_store *store,
                                   uint64_t from_dir,
                                   const uint8_t *from,
                                   size_t from_len,
                                   uint64_t to_dir,
                                   const uint8_t *to,
                                   size_t to_len,
                                   uint32_t how,
                                   struct efscrypt_wcc *from_parent,
                                   struct efscrypt_wcc *to_parent,
                                   struct efscrypt_error *error);

/**
 * As `efscrypt_fs_rename`, and leaves a whiteout at the old name in the same step: a character
 * device with number 0, by which an overlay of file systems knows that the name is not there.
 * `set` says what it gets; its mode is 0 unless given. `how` is not `EFSCRYPT_RENAME_EXCHANGE`.
 * `whiteout` receives what was made; its `ino` is 0 where both names were of one inode, and
 * nothing happened.
 *
 * # Safety
 * As for `efscrypt_fs_rename`; `set` is NULL or points to as many bytes as its size says;
 * `whiteout` is NULL or valid for a write.
 */
efscrypt_status efscrypt_fs_rename_whiteout(const struct efscrypt_store *store,
                                            uint64_t from_dir,
                                            const uint8_t *from,
                                            size_t from_len,
                                            uint64_t to_dir,
                                            const uint8_t *to,
                                            size_t to_len,
                                            uint32_t how,
                                            const struct efscrypt_set_attr *set,
                                            struct efscrypt_attr *whiteout,
                                            struct efscrypt_wcc *from_parent,
                                            struct efscrypt_wcc *to_parent,
                                            struct efscrypt_error *error);

/**
 * Sets attributes, all or none; a size cuts or grows a regular file, and takes away its set-ID
 * bits as `efscrypt_fs_write` does. Another size than before moves mtime; that which the file has,
 * set alone, moves no time: `EFSCRYPT_SET_MTIME_NOW` with it does, as `ftruncate` and `O_TRUNC` of
 * POSIX do. Setting nothing changes nothing. Durable after `efscrypt_store_commit`.
 *
 * # Safety
 * `store` is valid; `set` points to as many bytes as its size says; `file` is NULL or valid for a
 * write.
 */
efscrypt_status efscrypt_fs_setattr(const struct efscrypt_store *store,
                                    uint64_t ino,
                                    const struct efscrypt_set_attr *set,
                                    struct efscrypt_wcc *file,
                                    struct efscrypt_error *error);

/**
 * Space and limits.
 *
 * # Safety
 * `store` is valid; `statfs` is valid for a write.
 */
efscrypt_status efscrypt_fs_statfs(const struct efscrypt_store *store,
                                   struct efscrypt_statfs *statfs,
                                   struct efscrypt_error *error);

/**
 * Reads the value of an extended attribute into `value` and sets `*len` to its length. Where
 * `room` is 0 only the length is set; `EFSCRYPT_STATUS_BUFFER_TOO_SMALL` where it is less than
 * that.
 *
 * # Safety
 * `store` is valid; `name` has `name_len` bytes; `value` is valid for writes of `room` bytes;
 * `len` is valid for a write.
 */
efscrypt_status efscrypt_fs_get_xattr(const struct efscrypt_store *store,
                                      uint64_t ino,
                                      const uint8_t *name,
                                      size_t name_len,
                                      uint8_t *value,
                                      size_t room,
                                      size_t *len,
                                      struct efscrypt_error *error);

/**
 * Sets an extended attribute: a name of 1 to 255 bytes without NUL, a value of up to 64 KiB. `how`
 * is one of `EFSCRYPT_XATTR_EITHER`, `EFSCRYPT_XATTR_CREATE`, `EFSCRYPT_XATTR_REPLACE`. Which
 * names a client may use is up to the caller. Durable after `efscrypt_store_commit`.
 *
 * # Safety
 * `store` is valid; name and value have their lengths; `file` is NULL or valid for a write.
 */
efscrypt_status efscrypt_fs_set_xattr(const struct efscrypt_store *store,
                                      uint64_t ino,
                                      const uint8_t *name,
                                      size_t name_len,
                                      const uint8_t *value,
                                      size_t value_len,
                                      uint32_t how,
                                      struct efscrypt_wcc *file,
                                      struct efscrypt_error *error);

/**
 * Removes an extended attribute. Durable after `efscrypt_store_commit`.
 *
 * # Safety
 * `store` is valid; `name` has `name_len` bytes; `file` is NULL or valid for a write.
 */
efscrypt_status efscrypt_fs_remove_xattr(const struct efscrypt_store *store,
                                         uint64_t ino,
                                         const uint8_t *name,
                                         size_t name_len,
                                         struct efscrypt_wcc *file,
                                         struct efscrypt_error *error);

/**
 * Lists the names of all extended attributes of an inode into `names`, each with a final NUL, in
 * no order that means anything, and sets `*len` to the bytes of all. Where `room` is 0 only the
 * length is set; `EFSCRYPT_STATUS_BUFFER_TOO_SMALL` where it is less than that.
 *
 * # Safety
 * `store` is valid; `names` is valid for writes of `room` bytes; `len` is valid for a write.
 */
efscrypt_status efscrypt_fs_list_xattrs(const struct efscrypt_store *store,
                                        uint64_t ino,
                                        uint8_t *names,
                                        size_t room,
                                        size_t *len,
                                        struct efscrypt_error *error);

#if defined(EFSCRYPT_LOCAL_KMS)
/**
 * Makes a local key service in a new file, opened by a passphrase, with one key of the alias
 * `alias`, such as "alias/customer". Refuses to overwrite a file. All or nothing: after a failure
 * there is no file, and a crash leaves at most one beside it whose name ends in ".new".
 *
 * # Safety
 * `file` and `alias` are NUL-terminated strings; `passphrase` has `passphrase_len` bytes.
 */
efscrypt_status efscrypt_local_kms_create(const char *file,
                                          const uint8_t *passphrase,
                                          size_t passphrase_len,
                                          const char *alias,
                                          struct efscrypt_error *error);
#endif

#if defined(EFSCRYPT_LOCAL_KMS)
/**
 * As `efscrypt_local_kms_create`, opened by a key file, a secret of 32 bytes that only its owner
 * may read (mode 0600). It is made where it is not there, and goes again after a failure: keep a
 * copy of it where it is safe.
 *
 * # Safety
 * The arguments are NUL-terminated strings.
 */
efscrypt_status efscrypt_local_kms_create_with_key_file(const char *file,
                                                        const char *key_file,
                                                        const char *alias,
                                                        struct efscrypt_error *error);
#endif

#if defined(EFSCRYPT_LOCAL_KMS)
/**
 * Creates one more key in the local key service in a file, enabled, with the alias `alias`, or
 * without one where that is NULL. Writes its id, with a final NUL, to `id`, which is NULL or has
 * room for `EFSCRYPT_KEY_ID_LEN` bytes. Durable. Providers that have the file open see the key.
 * `EFSCRYPT_STATUS_EXISTS` where another key has the alias.
 *
 * # Safety
 * `file` is a NUL-terminated string, and so is `alias` unless it is NULL; `passphrase` has
 * `passphrase_len` bytes; `id` is NULL or has room.
 */
efscrypt_status efscrypt_local_kms_create_key(const char *file,
                                              const uint8_t *passphrase,
                                              size_t passphrase_len,
                                              const char *alias,
                                              char *id,
                                              struct efscrypt_error *error);
#endif

#if defined(EFSCRYPT_LOCAL_KMS)
/**
 * As `efscrypt_local_kms_create_key`, opened by a key file.
 *
 * # Safety
 * As there; `key_file` is a NUL-terminated string.
 */
efscrypt_status efscrypt_local_kms_create_key_with_key_file(const char *file,
                                                            const char *key_file,
                                                            const char *alias,
                                                            char *id,
                                                            struct efscrypt_error *error);
#endif

#if defined(EFSCRYPT_LOCAL_KMS)
/**
 * Opens the local key service in a file as a provider. Its keys are named by id or `alias/NAME`.
 *
 * # Safety
 * `file` is a NUL-terminated string; `passphrase` has `passphrase_len` bytes; `provider` is
 * valid for a write.
 */
efscrypt_status efscrypt_provider_open_local(const char *file,
                                             const uint8_t *passphrase,
                                             size_t passphrase_len,
                                             struct efscrypt_provider **provider,
                                             struct efscrypt_error *error);
#endif

#if defined(EFSCRYPT_LOCAL_KMS)
/**
 * As `efscrypt_provider_open_local`, opened by a key file.
 *
 * # Safety
 * `file` and `key_file` are NUL-terminated strings; `provider` is valid for a write.
 */
efscrypt_status efscrypt_provider_open_local_with_key_file(const char *file,
                                                           const char *key_file,
                                                           struct efscrypt_provider **provider,
                                                           struct efscrypt_error *error);
#endif

/**
 * Frees a provider; NULL is fine. In a forked child it does nothing, and calls nothing of the
 * parent's.
 *
 * # Safety
 * `provider` came from this library and was not freed before.
 */
void efscrypt_provider_free(struct efscrypt_provider *provider);

/**
 * Makes a store in a new or empty file or on a blank block device, and opens it. `metadata` and
 * `data` may be the same provider, and `metadata_key` and `data_key` the same key. The store is
 * durable when this returns. A new file is only for its owner to read. Each provider is called
 * twice for its domain: to wrap a new key, and to unwrap it again.
 *
 * A failure leaves what was there before: no file, an empty file, or a blank device. It never
 * removes or empties what this call did not make.
 *
 * # Safety
 * Strings are NUL-terminated; objects are valid; `opts` is NULL or valid; `store` is valid for
 * a write.
 */
efscrypt_status efscrypt_store_create(const char *file,
                                      const struct efscrypt_options *opts,
                                      const struct efscrypt_provider *metadata,
                                      const char *metadata_key,
                                      const struct efscrypt_provider *data,
                                      const char *data_key,
                                      struct efscrypt_store **store,
                                      struct efscrypt_error *error);

/**
 * Opens a store, with one call of each provider. Fails with `EFSCRYPT_STATUS_IN_USE` while another
 * program, or this one, has it open.
 *
 * With `data_optional` among the options, `data` may be NULL, or a provider that refuses or does
 * not know the key: names and attributes work then, and contents answer
 * `EFSCRYPT_STATUS_KEY_UNAVAILABLE`.
 *
 * # Safety
 * As for `efscrypt_store_create`; `data` is NULL or valid.
 */
efscrypt_status efscrypt_store_open(const char *file,
                                    const struct efscrypt_options *opts,
                                    const struct efscrypt_provider *metadata,
                                    const struct efscrypt_provider *data,
                                    struct efscrypt_store **store,
                                    struct efscrypt_error *error);

/**
 * Makes all changes so far durable: they survive a crash of the process and a power cut.
 *
 * # Safety
 * `store` is valid.
 */
efscrypt_status efscrypt_store_commit(const struct efscrypt_store *store,
                                      struct efscrypt_error *error);

/**
 * Makes all changes durable and the log empty, so that the next open has nothing to replay: what
 * `efscrypt_store_close` does too, at a time of the caller's.
 *
 * # Safety
 * `store` is valid.
 */
efscrypt_status efscrypt_store_checkpoint(const struct efscrypt_store *store,
                                          struct efscrypt_error *error);

/**
 * Fails once the store is poisoned, with the first cause: for a server that would rather stop, or
 * open the store again, than answer every change with that status.
 *
 * # Safety
 * `store` is valid.
 */
efscrypt_status efscrypt_store_health(const struct efscrypt_store *store,
                                      struct efscrypt_error *error);

/**
 * Does work that was put off, a bounded amount: frees what large removed files still hold, up to
 * about a GiB, makes the next open fast, and gives free space back to the host that is not likely
 * to be written again soon. Sets `*done`, which may be NULL, to whether nothing is left to do. For
 * a timer, after opening, and in idle moments, on a thread of the caller's. Writers that run short
 * of space, and closing, do some of it too.
 *
 * # Safety
 * `store` is valid; `done` is NULL or valid for a write.
 */
efscrypt_status efscrypt_store_maintain(const struct efscrypt_store *store,
                                        bool *done,
                                        struct efscrypt_error *error);

/**
 * Sets `*verifier` to a number that is another one whenever changes that were not committed may be
 * lost: since the store was opened again. It is what an NFS server answers to WRITE and COMMIT.
 *
 * # Safety
 * `store` is valid; `verifier` is valid for a write.
 */
efscrypt_status efscrypt_store_write_verifier(const struct efscrypt_store *store,
                                              uint64_t *verifier,
                                              struct efscrypt_error *error);

/**
 * Wraps the keys of one or both domains under other provider keys, as `to` names them. Each domain
 * takes one call of its old provider and two of the new one, which wraps the key and has to unwrap
 * it again before the old wrap goes. When this returns, the old provider keys open nothing in the
 * store's current bytes; they still open copies that were made before.
 *
 * # Safety
 * `store` is valid. `to` points to as many bytes as its size says; each provider in it is NULL or
 * valid, and its key then a NUL-terminated string.
 */
efscrypt_status efscrypt_store_rewrap(const struct efscrypt_store *store,
                                      const struct efscrypt_rewrap *to,
                                      struct efscrypt_error *error);

/**
 * Writes a backup of the header of the store in `file` to the new file `backup`, only for its
 * owner to read: what the store cannot be read without, sealed and wrapped, and no state. One call
 * of the provider. Any program may have the store open for reading, none for writing.
 *
 * # Safety
 * Strings are NUL-terminated; objects are valid; `opts` is NULL or valid.
 */
efscrypt_status efscrypt_header_backup(const char *file,
                                       const struct efscrypt_options *opts,
                                       const struct efscrypt_provider *metadata,
                                       const char *backup,
                                       struct efscrypt_error *error);

/**
 * Puts the header of the store in `file` back from the file `backup`. Where a superblock is alive
 * the store gets the wrapped keys alone; else it does not open before `efscrypt check --repair`
 * found its state. Refused with `EFSCRYPT_STATUS_INVALID_ARGUMENT` where the store has newer
 * wrapped keys, where there is another store, and where nothing of the store is there; unless
 * `audit` names a log of key uses, which is told of it before. One call of the provider.
 *
 * # Safety
 * Strings are NUL-terminated; objects are valid; `opts` and `audit` are NULL or valid.
 */
efscrypt_status efscrypt_header_restore(const char *file,
                                        const struct efscrypt_options *opts,
                                        const struct efscrypt_provider *metadata,
                                        const char *backup,
                                        const char *audit,
                                        struct efscrypt_error *error);

/**
 * Locks the contents: when this returns their keys are wiped from memory, and reading and writing
 * contents answers `EFSCRYPT_STATUS_KEY_UNAVAILABLE`. Names, attributes, renaming, deleting and
 * committing go on as before. `efscrypt_store_unlock_data` undoes it.
 *
 * # Safety
 * `store` is valid.
 */
efscrypt_status efscrypt_store_lock_data(const struct efscrypt_store *store,
                                         struct efscrypt_error *error);

/**
 * Has the data provider unlock the contents, with one call: after `efscrypt_store_lock_data`, or
 * where they could not be unlocked when the store was opened with `data_optional`. A failure
 * leaves them as they were.
 *
 * # Safety
 * `store` is valid.
 */
efscrypt_status efscrypt_store_unlock_data(const struct efscrypt_store *store,
                                           struct efscrypt_error *error);

/**
 * Sets `*available` to whether contents can be read and written: their key is unlocked.
 *
 * # Safety
 * `store` is valid; `available` is valid for a write.
 */
efscrypt_status efscrypt_store_has_data_key(const struct efscrypt_store *store,
                                            bool *available,
                                            struct efscrypt_error *error);

/**
 * Closes a store with everything durable. The store is gone whatever the answer; an error says
 * that changes since the last commit may be lost. Frees first what removed files still hold, up to
 * 100 GiB. NULL is fine. In a forked child it answers `EFSCRYPT_STATUS_FORKED`, and the parent's
 * store stays open.
 *
 * # Safety
 * `store` came from this library, was not closed before, and nobody uses it any more.
 */
efscrypt_status efscrypt_store_close(struct efscrypt_store *store, struct efscrypt_error *error);

/**
 * Gives all free space of a store back to the host: holes in the store's file, which also gets
 * shorter where its end is free, or blocks that its device may forget. Others go on meanwhile. All
 * changes so far are durable afterwards. A device that fails to take space back answers
 * `EFSCRYPT_STATUS_IO`, and nothing is harmed. `*trimmed` may be NULL.
 *
 * # Safety
 * `store` is valid; `trimmed` is NULL or valid for a write.
 */
efscrypt_status efscrypt_store_trim(const struct efscrypt_store *store,
                                    struct efscrypt_trimmed *trimmed,
                                    struct efscrypt_error *error);

/**
 * Version of the interface that the library has.
 */
uint32_t efscrypt_abi_version(void);

/**
 * Version of the library, such as "0.1.0". Valid for ever.
 */
const char *efscrypt_version(void);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* EFSCRYPT_H */
