/* Makes a key service and a store in a directory, writes a file, reopens, reads it back.
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

static int32_t print_entry(void *count, const uint8_t *name, size_t len, uint64_t ino, uint64_t cookie)
{
    (void)cookie;
    printf("entry %.*s is inode %llu\n", (int)len, (const char *)name, (unsigned long long)ino);
    *(int *)count += 1;
    return 0;
}

int main(int argc, char **argv)
{
    const char *directory = argc > 1 ? argv[1] : ".";
    const char *text = "nobody else reads this";
    const char *phrase = "correct horse battery";
    char kms[4096], file[4096], back[64] = {0};
    efscrypt_provider *provider = NULL;
    efscrypt_store *store = NULL;
    efscrypt_attr dir, note;
    size_t done = 0;
    int entries = 0;

    snprintf(kms, sizeof kms, "%s/kms.json", directory);
    snprintf(file, sizeof file, "%s/store.efs", directory);
    must(efscrypt_local_kms_create(kms, bytes(phrase), strlen(phrase), "alias/customer", &error),
         "kms");
    must(efscrypt_provider_open_local(kms, bytes(phrase), strlen(phrase), &provider, &error), "provider");
    must(efscrypt_store_create(file, NULL, provider, "alias/customer", provider, "alias/customer",
                               &store, &error), "create");
    must(efscrypt_fs_mkdir(store, EFSCRYPT_ROOT, bytes("home"), 4, 0755, &dir, &error), "mkdir");
    must(efscrypt_fs_create(store, dir.ino, bytes("note"), 4, 0600, &note, &error), "create file");
    must(efscrypt_fs_write(store, note.ino, 0, bytes(text), strlen(text), &error), "write");
    must(efscrypt_store_commit(store, &error), "commit");
    must(efscrypt_store_close(store, &error), "close");

    must(efscrypt_store_open(file, NULL, provider, provider, &store, &error), "open");
    must(efscrypt_fs_lookup(store, EFSCRYPT_ROOT, bytes("home"), 4, &dir, &error), "lookup");
    must(efscrypt_fs_lookup(store, dir.ino, bytes("note"), 4, &note, &error), "lookup");
    must(efscrypt_fs_getattr(store, note.ino, &note, &error), "getattr");
    must(efscrypt_fs_read(store, note.ino, 0, (uint8_t *)back, sizeof back - 1, &done, &error), "read");
    must(efscrypt_fs_readdir(store, dir.ino, 0, print_entry, &entries, &error), "readdir");
    if (done != strlen(text) || note.size != done || strcmp(back, text) != 0 || entries != 3) {
        fprintf(stderr, "the store gave back something else\n");
        return 1;
    }
    must(efscrypt_fs_unlink(store, dir.ino, bytes("note"), 4, &error), "unlink");
    if (efscrypt_fs_lookup(store, dir.ino, bytes("note"), 4, NULL, &error)
        != EFSCRYPT_STATUS_NOT_FOUND) {
        fprintf(stderr, "the file is still there\n");
        return 1;
    }
    must(efscrypt_store_close(store, &error), "close");
    efscrypt_provider_free(provider);
    printf("read back %zu bytes: %s\n", done, back);
    return 0;
}
