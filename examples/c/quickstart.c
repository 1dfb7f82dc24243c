/* Makes a key service and a store in a directory, writes a file, reopens, reads it back by its handle.
 * Every use of a key is recorded in audit.jsonl.
 *
 * cc -std=c11 -Wall -Wextra -Werror -Iinclude examples/c/quickstart.c -Ltarget/release -lefscrypt
 */
#include "efscrypt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static efscrypt_error error;

static void must(efscrypt_status status, const char *what)
{
    if (status != EFSCRYPT_STATUS_OK) {
        fprintf(stderr, "%s: %s (status %u)\n", what, error.message, (unsigned)status);
        exit(1);
    }
}

static const uint8_t *bytes(const char *text)
{
    return (const uint8_t *)text;
}

static int32_t print_entry(void *count, const efscrypt_dir_entry *entry)
{
    printf("entry %.*s is inode %llu\n", (int)entry->name_len, (const char *)entry->name,
           (unsigned long long)entry->ino);
    *(int *)count += 1;
    return 0;
}

/* A provider of both domains' keys, with a record of each call. */
static efscrypt_provider *open_keys(const char *directory)
{
    const char *phrase = "correct horse battery";
    char kms[4096], log[4096];
    efscrypt_provider *local = NULL, *audited = NULL;

    snprintf(kms, sizeof kms, "%s/kms.json", directory);
    snprintf(log, sizeof log, "%s/audit.jsonl", directory);
    must(efscrypt_local_kms_create(kms, bytes(phrase), strlen(phrase), "alias/customer", &error),
         "create key service");
    must(efscrypt_provider_open_local(kms, bytes(phrase), strlen(phrase), &local, &error),
         "open key service");
    must(efscrypt_provider_audit(local, log, "quickstart", &audited, &error), "open audit log");
    efscrypt_provider_free(local);
    return audited;
}

int main(int argc, char **argv)
{
    const char *directory = argc > 1 ? argv[1] : ".";
    const char *text = "nobody else reads this";
    char file[4096], log[4096], back[64];
    efscrypt_provider *keys = open_keys(directory);
    efscrypt_store *store = NULL;
    efscrypt_options options;
    efscrypt_set_attr mode;
    efscrypt_created dir, note;
    efscrypt_handle handle;
    efscrypt_attr found;
    size_t done = 0;
    uint64_t records = 0;
    int entries = 0;
    bool eof = false;

    snprintf(file, sizeof file, "%s/store.efs", directory);
    snprintf(log, sizeof log, "%s/audit.jsonl", directory);
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.name = "quickstart";
    options.root_mode = 0700;
    memset(&mode, 0, sizeof mode);
    mode.size = sizeof mode;
    mode.valid = EFSCRYPT_SET_MODE;
    mode.mode = 0750;

    must(efscrypt_store_create(file, &options, keys, "alias/customer", keys, "alias/customer", &store,
                               &error), "create");
    must(efscrypt_fs_mkdir(store, EFSCRYPT_ROOT, bytes("home"), 4, &mode, &dir, &error), "mkdir");
    must(efscrypt_fs_create(store, dir.attr.ino, bytes("note"), 4, NULL, EFSCRYPT_CREATE_GUARDED, NULL,
                            &note, &error), "create file");
    must(efscrypt_fs_write(store, note.attr.ino, 0, bytes(text), strlen(text), NULL, &error), "write");
    must(efscrypt_fs_handle(store, note.attr.ino, &handle, &error), "handle");
    must(efscrypt_store_commit(store, &error), "commit");
    must(efscrypt_store_close(store, &error), "close");

    must(efscrypt_store_open(file, NULL, keys, keys, &store, &error), "open");
    must(efscrypt_fs_by_handle(store, handle.bytes, handle.len, &found, &error), "by handle");
    must(efscrypt_fs_read(store, found.ino, 0, (uint8_t *)back, sizeof back, &done, &eof, &error),
         "read");
    must(efscrypt_fs_readdir(store, dir.attr.ino, 0, print_entry, &entries, NULL, &error), "readdir");
    if (!eof || done != strlen(text) || found.size != done || memcmp(back, text, done) != 0
        || entries != 3) {
        fprintf(stderr, "the store gave back something else\n");
        return 1;
    }
    must(efscrypt_fs_unlink(store, dir.attr.ino, bytes("note"), 4, NULL, &error), "unlink");
    if (efscrypt_fs_by_handle(store, handle.bytes, handle.len, NULL, &error)
        != EFSCRYPT_STATUS_STALE) {
        fprintf(stderr, "the file is still there\n");
        return 1;
    }
    must(efscrypt_store_close(store, &error), "close");
    efscrypt_provider_free(keys);
    must(efscrypt_audit_verify(log, &records, &error), "verify audit log");
    printf("read back %zu bytes: %.*s\n", done, (int)done, back);
    printf("%llu uses of keys on record\n", (unsigned long long)records);
    return 0;
}
