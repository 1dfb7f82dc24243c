/* efscrypt: an encrypted file tree in one store.
 *
 * Conventions:
 * - A function is efscrypt_<object>_<verb>. It answers an efscrypt_status: 0 for success.
 * - Objects are opaque. create and open give one out; free or close ends it, and accepts NULL.
 * - The last argument is an efscrypt_error of yours that receives details, or NULL.
 * - Outputs are written on success only. Inputs are not kept, unless said so.
 * - Names are bytes with a length, not strings: any bytes but '/' and NUL.
 * - Every function may be called from any thread, many at a time on one object, but for the one
 *   that ends it.
 * - After a fork the child must not use objects of the parent: it gets EFSCRYPT_STATUS_FORKED.
 * - Link with -lefscrypt. This file is generated: do not edit it.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef EFSCRYPT_H
#define EFSCRYPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * Bytes of a message with its final NUL.
 */
#define EFSCRYPT_MESSAGE_LEN 256

/**
 * Inode number of the root directory.
 */
#define EFSCRYPT_ROOT 1

/**
 * Most bytes of a wrapped key's blob.
 */
#define EFSCRYPT_BLOB_LEN 1024

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
   * A bug in the engine.
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
} efscrypt_time;

/**
 * Attributes of an inode at one moment.
 */
typedef struct efscrypt_attr {
  /**
   * Inode number, never 0.
   */
  uint64_t ino;
  /**
   * With the number, unique for ever.
   */
  uint64_t generation;
  /**
   * File type and permission bits, as in `st_mode`.
   */
  uint32_t mode;
  /**
   * Number of names.
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
   * Bytes of contents.
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
} efscrypt_attr;

/**
 * Details of a failure. The caller owns it; a function that fails fills it in.
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
} efscrypt_error;

/**
 * Called for each entry of a directory; `name` has `name_len` bytes and no final NUL, and is valid
 * during the call. `cookie` continues behind this entry. Returns 0 to go on, anything else to
 * stop.
 */
typedef int32_t (*efscrypt_visit)(void *userdata,
                                  const uint8_t *name,
                                  size_t name_len,
                                  uint64_t ino,
                                  uint64_t cookie);

/**
 * A key service of the caller's. Each callback may be called from any thread, several at once,
 * and may block; it must not call the store. It answers 0, or the status of what went wrong:
 * `EFSCRYPT_STATUS_KEY_NOT_FOUND`, `EFSCRYPT_STATUS_KEY_DISABLED`, `EFSCRYPT_STATUS_KEY_DENIED`,
 * `EFSCRYPT_STATUS_KEY_UNREACHABLE`, `EFSCRYPT_STATUS_WRONG_KEY`; any other counts as
 * `EFSCRYPT_STATUS_KEY_DENIED`.
 *
 * `key` names the provider key. `context` holds `context_len` bytes that must be bound to the
 * wrapped key: unwrap with another context must fail.
 */
typedef struct efscrypt_provider_ops {
  /**
   * `sizeof(efscrypt_provider_ops)`: later versions only add at the end.
   */
  size_t size;
  /**
   * Wraps a key of 32 bytes into `blob`, which has room for 1,024 bytes, and sets `*blob_len`.
   */
  uint32_t (*wrap)(void *userdata,
                   const char *key,
                   const uint8_t *context,
                   size_t context_len,
                   const uint8_t *secret,
                   uint8_t *blob,
                   size_t *blob_len);
  /**
   * Unwraps a blob into 32 bytes at `secret`.
   */
  uint32_t (*unwrap)(void *userdata,
                     const char *key,
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
 * Options of a store. Set it to zero but for `size`; zero fields mean the default.
 */
typedef struct efscrypt_options {
  /**
   * `sizeof(efscrypt_options)`: later versions only add at the end.
   */
  size_t size;
  /**
   * Bytes of memory for metadata; 64 MiB by default.
   */
  size_t cache_bytes;
  /**
   * Bytes of the log of a new store, 512 KiB to 1 GiB; 32 MiB by default.
   */
  uint64_t log_bytes;
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
} efscrypt_options;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The errno value of a status; 0 for success, EIO for a number that does not exist.
 */
int32_t efscrypt_status_errno(uint32_t status);

/**
 * The attributes of the entry `name` of a directory.
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
 * Makes a directory with permission bits `mode`. Durable after `efscrypt_store_commit`.
 *
 * # Safety
 * As for `efscrypt_fs_lookup`.
 */
efscrypt_status efscrypt_fs_mkdir(const struct efscrypt_store *store,
                                  uint64_t dir,
                                  const uint8_t *name,
                                  size_t name_len,
                                  uint32_t mode,
                                  struct efscrypt_attr *attr,
                                  struct efscrypt_error *error);

/**
 * Makes an empty file with permission bits `mode`; fails with `EFSCRYPT_STATUS_EXISTS` where the
 * name is taken. Durable after `efscrypt_store_commit`.
 *
 * # Safety
 * As for `efscrypt_fs_lookup`.
 */
efscrypt_status efscrypt_fs_create(const struct efscrypt_store *store,
                                   uint64_t dir,
                                   const uint8_t *name,
                                   size_t name_len,
                                   uint32_t mode,
                                   struct efscrypt_attr *attr,
                                   struct efscrypt_error *error);

/**
 * Reads up to `len` bytes from `offset` and sets `*done` to how many: fewer only at the end of the
 * file. Every byte was authenticated; on an error the buffer holds no contents.
 *
 * # Safety
 * `store` is valid; `buf` is valid for writes of `len` bytes; `done` is valid for a write.
 */
efscrypt_status efscrypt_fs_read(const struct efscrypt_store *store,
                                 uint64_t ino,
                                 uint64_t offset,
                                 uint8_t *buf,
                                 size_t len,
                                 size_t *done,
                                 struct efscrypt_error *error);

/**
 * Writes all of `len` bytes at `offset`, growing the file. Durable after `efscrypt_store_commit`.
 *
 * # Safety
 * `store` is valid; `buf` has `len` bytes.
 */
efscrypt_status efscrypt_fs_write(const struct efscrypt_store *store,
                                  uint64_t ino,
                                  uint64_t offset,
                                  const uint8_t *buf,
                                  size_t len,
                                  struct efscrypt_error *error);

/**
 * Calls `visit` for the entries of a directory behind `cookie`; 0 starts with the first. The
 * entries "." and ".." come first. Cookies stay valid while entries come and go, and after
 * reopening.
 *
 * # Safety
 * `store` is valid; `visit` may be called with `userdata`, from this thread.
 */
efscrypt_status efscrypt_fs_readdir(const struct efscrypt_store *store,
                                    uint64_t dir,
                                    uint64_t cookie,
                                    efscrypt_visit visit,
                                    void *userdata,
                                    struct efscrypt_error *error);

/**
 * Removes a name that is not a directory's. The last name of an inode frees its contents.
 *
 * # Safety
 * `store` is valid; `name` has `name_len` bytes.
 */
efscrypt_status efscrypt_fs_unlink(const struct efscrypt_store *store,
                                   uint64_t dir,
                                   const uint8_t *name,
                                   size_t name_len,
                                   struct efscrypt_error *error);

/**
 * Removes an empty directory.
 *
 * # Safety
 * As for `efscrypt_fs_unlink`.
 */
efscrypt_status efscrypt_fs_rmdir(const struct efscrypt_store *store,
                                  uint64_t dir,
                                  const uint8_t *name,
                                  size_t name_len,
                                  struct efscrypt_error *error);

/**
 * Gives an entry another name, in the same or another directory, replacing what has that name.
 *
 * # Safety
 * `store` is valid; the names have their lengths.
 */
efscrypt_status efscrypt_fs_rename(const struct efscrypt_store *store,
                                   uint64_t from_dir,
                                   const uint8_t *from,
                                   size_t from_len,
                                   uint64_t to_dir,
                                   const uint8_t *to,
                                   size_t to_len,
                                   struct efscrypt_error *error);

/**
 * Whether attributes are of a directory.
 */
bool efscrypt_mode_is_dir(uint32_t mode);

/**
 * Makes a local key service in a new file at `file`, opened by a passphrase, with one key of the
 * alias `alias`. Refuses to overwrite a file.
 *
 * # Safety
 * `file` and `alias` are NUL-terminated strings; `passphrase` has `passphrase_len` bytes.
 */
efscrypt_status efscrypt_local_kms_create(const char *file,
                                          const uint8_t *passphrase,
                                          size_t passphrase_len,
                                          const char *alias,
                                          struct efscrypt_error *error);

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

/**
 * Makes a provider of the caller's callbacks. `name` is kept in the store beside each wrapped
 * key: 1 to 64 of a-z, 0-9 and '-'.
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
 * Frees a provider; NULL is fine.
 *
 * # Safety
 * `provider` came from this library and was not freed before.
 */
void efscrypt_provider_free(struct efscrypt_provider *provider);

/**
 * Makes a store in a new file and opens it. `metadata` and `data` may be the same provider, and
 * `metadata_key` and `data_key` the same key. The store is durable when this returns. It is only
 * for the owner to read.
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
 * Opens a store. Fails with `EFSCRYPT_STATUS_IN_USE` while another program has it open.
 *
 * # Safety
 * As for `efscrypt_store_create`.
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
 * Closes a store with everything durable. The store is gone whatever the answer; an error says
 * that changes since the last commit may be lost. NULL is fine.
 *
 * # Safety
 * `store` came from this library, was not closed before, and nobody uses it any more.
 */
efscrypt_status efscrypt_store_close(struct efscrypt_store *store, struct efscrypt_error *error);

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
