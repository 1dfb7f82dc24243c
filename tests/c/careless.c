/* Calls the C interface as no program should: NULL everywhere, lengths without bounds, numbers of
 * nothing, and a key service that lies. Every call must answer a status, leave outputs alone, and
 * let the store work on. */
#include "efscrypt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int checks;

/* Counts a check, or ends the program. */
static void expect(efscrypt_status status, efscrypt_status wanted, int line)
{
    if (status != wanted) {
        fprintf(stderr, "line %d: status %u, not %u\n", line, (unsigned)status, (unsigned)wanted);
        exit(1);
    }
    checks += 1;
}

#define IS(wanted, call) expect(call, EFSCRYPT_STATUS_##wanted, __LINE__)
#define REFUSED(call) IS(INVALID_ARGUMENT, call)

static const uint8_t *bytes(const char *text)
{
    return (const uint8_t *)text;
}

/* What the lying key service does next. */
enum lie { HONEST, LONG_BLOB, EMPTY_BLOB, STRANGE_STATUS, OTHER_KEY };
static enum lie lie;

static uint32_t wrap(void *userdata, const char *key, const uint8_t *context, size_t context_len,
                     const uint8_t *secret, uint8_t *blob, size_t *blob_len)
{
    (void)userdata, (void)key, (void)context, (void)context_len;
    if (lie == STRANGE_STATUS)
        return 123456;
    for (int i = 0; i < 32; i++)
        blob[i] = secret[i] ^ 0x5a;
    *blob_len = lie == LONG_BLOB ? SIZE_MAX : lie == EMPTY_BLOB ? 0 : 32;
    return 0;
}

static uint32_t unwrap(void *userdata, const char *key, const uint8_t *context, size_t context_len,
                       const uint8_t *blob, size_t blob_len, uint8_t *secret)
{
    (void)userdata, (void)key, (void)context, (void)context_len;
    if (lie == STRANGE_STATUS || blob_len != 32)
        return 123456;
    for (int i = 0; i < 32; i++)
        secret[i] = blob[i] ^ (lie == OTHER_KEY ? 0x5b : 0x5a);
    return 0;
}

static efscrypt_provider *providers(void)
{
    efscrypt_provider_ops ops = {sizeof ops, wrap, unwrap, NULL};
    efscrypt_provider_ops bad = ops;
    efscrypt_provider *provider = NULL;
    REFUSED(efscrypt_provider_create(NULL, &ops, NULL, &provider, NULL));
    REFUSED(efscrypt_provider_create("lying", NULL, NULL, &provider, NULL));
    REFUSED(efscrypt_provider_create("lying", &ops, NULL, NULL, NULL));
    REFUSED(efscrypt_provider_create("\xff", &ops, NULL, &provider, NULL));
    bad.size = sizeof ops - 1;
    REFUSED(efscrypt_provider_create("lying", &bad, NULL, &provider, NULL));
    /* Not even room for the rest. */
    size_t *size = (size_t *)malloc(sizeof *size);
    if (size == NULL)
        exit(7);
    *size = sizeof *size;
    REFUSED(efscrypt_provider_create("lying", (efscrypt_provider_ops *)(void *)size, NULL, &provider, NULL));
    free(size);
    bad = ops;
    bad.wrap = NULL;
    REFUSED(efscrypt_provider_create("lying", &bad, NULL, &provider, NULL));
    bad = ops;
    bad.unwrap = NULL;
    REFUSED(efscrypt_provider_create("lying", &bad, NULL, &provider, NULL));
    IS(OK, efscrypt_provider_create("lying", &ops, NULL, &provider, NULL));
    efscrypt_provider_free(NULL);
    return provider;
}

static efscrypt_store *stores(const char *file, efscrypt_provider *keys)
{
    efscrypt_store *store = NULL;
    efscrypt_options options;
    memset(&options, 0, sizeof options);
    REFUSED(efscrypt_store_create(file, &options, keys, "k", keys, "k", &store, NULL));
    options.size = sizeof options;
    options.log_bytes = 1;
    REFUSED(efscrypt_store_create(file, &options, keys, "k", keys, "k", &store, NULL));
    options.log_bytes = 512 << 10;
    REFUSED(efscrypt_store_create(NULL, &options, keys, "k", keys, "k", &store, NULL));
    REFUSED(efscrypt_store_create(file, &options, NULL, "k", keys, "k", &store, NULL));
    REFUSED(efscrypt_store_create(file, &options, keys, NULL, keys, "k", &store, NULL));
    REFUSED(efscrypt_store_create(file, &options, keys, "k", NULL, "k", &store, NULL));
    REFUSED(efscrypt_store_create(file, &options, keys, "k", keys, NULL, &store, NULL));
    REFUSED(efscrypt_store_create(file, &options, keys, "k", keys, "k", NULL, NULL));
    REFUSED(efscrypt_store_create(file, &options, keys, "", keys, "k", &store, NULL));
    lie = LONG_BLOB;
    IS(KEY_DENIED, efscrypt_store_create(file, &options, keys, "k", keys, "k", &store, NULL));
    lie = EMPTY_BLOB;
    REFUSED(efscrypt_store_create(file, &options, keys, "k", keys, "k", &store, NULL));
    lie = STRANGE_STATUS;
    IS(KEY_DENIED, efscrypt_store_create(file, &options, keys, "k", keys, "k", &store, NULL));
    lie = HONEST;
    if (store != NULL)
        exit(2);
    IS(OK, efscrypt_store_create(file, &options, keys, "k", keys, "k", &store, NULL));
    IS(OK, efscrypt_store_close(store, NULL));

    store = NULL;
    REFUSED(efscrypt_store_open(NULL, NULL, keys, keys, &store, NULL));
    REFUSED(efscrypt_store_open(file, NULL, NULL, keys, &store, NULL));
    REFUSED(efscrypt_store_open(file, NULL, keys, NULL, &store, NULL));
    REFUSED(efscrypt_store_open(file, NULL, keys, keys, NULL, NULL));
    lie = OTHER_KEY;
    IS(WRONG_KEY, efscrypt_store_open(file, NULL, keys, keys, &store, NULL));
    lie = STRANGE_STATUS;
    IS(KEY_DENIED, efscrypt_store_open(file, NULL, keys, keys, &store, NULL));
    lie = HONEST;
    if (store != NULL)
        exit(2);
    IS(OK, efscrypt_store_open(file, NULL, keys, keys, &store, NULL));
    REFUSED(efscrypt_store_commit(NULL, NULL));
    IS(OK, efscrypt_store_close(NULL, NULL));
    return store;
}

static void names(efscrypt_store *store)
{
    const uint64_t root = EFSCRYPT_ROOT;
    char longest[300];
    efscrypt_attr attr, before;
    memset(longest, 'n', sizeof longest);
    memset(&attr, 0xee, sizeof attr);
    before = attr;
    REFUSED(efscrypt_fs_create(NULL, root, bytes("a"), 1, 0600, &attr, NULL));
    REFUSED(efscrypt_fs_create(store, root, NULL, 1, 0600, &attr, NULL));
    REFUSED(efscrypt_fs_create(store, root, NULL, 0, 0600, &attr, NULL));
    REFUSED(efscrypt_fs_create(store, root, bytes("a"), SIZE_MAX, 0600, &attr, NULL));
    REFUSED(efscrypt_fs_create(store, root, bytes("a/b"), 3, 0600, &attr, NULL));
    REFUSED(efscrypt_fs_create(store, root, bytes("a\0b"), 3, 0600, &attr, NULL));
    IS(NAME_TOO_LONG, efscrypt_fs_create(store, root, bytes(longest), 256, 0600, &attr, NULL));
    IS(EXISTS, efscrypt_fs_create(store, root, bytes(".."), 2, 0600, &attr, NULL));
    IS(STALE, efscrypt_fs_create(store, 0, bytes("a"), 1, 0600, &attr, NULL));
    IS(STALE, efscrypt_fs_mkdir(store, UINT64_MAX, bytes("a"), 1, 0700, &attr, NULL));
    IS(STALE, efscrypt_fs_getattr(store, 4711, &attr, NULL));
    REFUSED(efscrypt_fs_getattr(NULL, root, &attr, NULL));
    IS(NOT_FOUND, efscrypt_fs_lookup(store, root, bytes("a"), 1, &attr, NULL));
    IS(NOT_FOUND, efscrypt_fs_unlink(store, root, bytes("a"), 1, NULL));
    REFUSED(efscrypt_fs_unlink(NULL, root, bytes("a"), 1, NULL));
    IS(NOT_FOUND, efscrypt_fs_rmdir(store, root, bytes("a"), 1, NULL));
    REFUSED(efscrypt_fs_rename(store, root, NULL, 1, root, bytes("b"), 1, NULL));
    REFUSED(efscrypt_fs_readdir(store, root, 0, NULL, NULL, NULL));
    if (memcmp(&attr, &before, sizeof attr) != 0)
        exit(3);
}

static void contents(efscrypt_store *store)
{
    efscrypt_attr file;
    efscrypt_error error;
    uint8_t buf[16];
    size_t done = 77;
    IS(OK, efscrypt_fs_create(store, EFSCRYPT_ROOT, bytes("file"), 4, 0600, &file, NULL));
    REFUSED(efscrypt_fs_write(NULL, file.ino, 0, buf, 1, NULL));
    REFUSED(efscrypt_fs_write(store, file.ino, 0, NULL, 1, NULL));
    REFUSED(efscrypt_fs_write(store, file.ino, 0, buf, SIZE_MAX, NULL));
    IS(FILE_TOO_LARGE, efscrypt_fs_write(store, file.ino, UINT64_MAX, bytes("x"), 1, NULL));
    IS(IS_DIRECTORY, efscrypt_fs_write(store, EFSCRYPT_ROOT, 0, bytes("x"), 1, NULL));
    REFUSED(efscrypt_fs_read(store, file.ino, 0, NULL, 1, &done, NULL));
    REFUSED(efscrypt_fs_read(store, file.ino, 0, buf, SIZE_MAX, &done, NULL));
    REFUSED(efscrypt_fs_read(store, file.ino, 0, buf, sizeof buf, NULL, NULL));
    REFUSED(efscrypt_fs_read(NULL, file.ino, 0, buf, sizeof buf, &done, NULL));
    if (done != 77)
        exit(3);
    memset(&error, 0xee, sizeof error);
    IS(STALE, efscrypt_fs_read(store, 99, 0, buf, sizeof buf, &done, &error));
    if (error.status != EFSCRYPT_STATUS_STALE || memchr(error.message, 0, sizeof error.message) == NULL)
        exit(4);
    IS(OK, efscrypt_fs_read(store, file.ino, UINT64_MAX, buf, sizeof buf, &done, NULL));
    if (done != 0)
        exit(5);
    /* After all this the store works. */
    IS(OK, efscrypt_fs_write(store, file.ino, 0, bytes("still here"), 10, NULL));
    IS(OK, efscrypt_store_commit(store, NULL));
    IS(OK, efscrypt_fs_read(store, file.ino, 0, buf, sizeof buf, &done, NULL));
    if (done != 10 || memcmp(buf, "still here", 10) != 0)
        exit(6);
}

int main(int argc, char **argv)
{
    char file[4096];
    efscrypt_provider *provider = providers();
    efscrypt_store *store;
    snprintf(file, sizeof file, "%s/store.efs", argc > 1 ? argv[1] : ".");
    store = stores(file, provider);
    names(store);
    contents(store);
    IS(OK, efscrypt_store_close(store, NULL));
    efscrypt_provider_free(provider);
    printf("%d calls, all refused\n", checks);
    return 0;
}
