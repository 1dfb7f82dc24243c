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
                     const uint8_t *secret, uint8_t *blob, size_t *blob_len, char *id)
{
    (void)userdata, (void)key, (void)context, (void)context_len, (void)id;
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
    REFUSED(efscrypt_store_create(file, &options, keys, "k", keys, "k", &store, NULL));
    lie = EMPTY_BLOB;
    REFUSED(efscrypt_store_create(file, &options, keys, "k", keys, "k", &store, NULL));
    lie = OTHER_KEY;
    IS(WRONG_KEY, efscrypt_store_create(file, &options, keys, "k", keys, "k", &store, NULL));
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

static efscrypt_status create(efscrypt_store *store, uint64_t dir, const void *name, size_t len,
                              efscrypt_created *made)
{
    return efscrypt_fs_create(store, dir, (const uint8_t *)name, len, NULL, EFSCRYPT_CREATE_GUARDED,
                              NULL, made, NULL);
}

static void names(efscrypt_store *store)
{
    const uint64_t root = EFSCRYPT_ROOT;
    char longest[300];
    efscrypt_created made, before;
    efscrypt_set_attr set;
    memset(longest, 'n', sizeof longest);
    memset(&made, 0xee, sizeof made);
    before = made;
    REFUSED(create(NULL, root, "a", 1, &made));
    REFUSED(create(store, root, NULL, 1, &made));
    REFUSED(create(store, root, NULL, 0, &made));
    REFUSED(create(store, root, "a", SIZE_MAX, &made));
    REFUSED(create(store, root, "a/b", 3, &made));
    REFUSED(create(store, root, "a\0b", 3, &made));
    IS(NAME_TOO_LONG, create(store, root, longest, 256, &made));
    IS(EXISTS, create(store, root, "..", 2, &made));
    IS(STALE, create(store, 0, "a", 1, &made));
    REFUSED(efscrypt_fs_create(store, root, bytes("a"), 1, NULL, 99, NULL, &made, NULL));
    memset(&set, 0, sizeof set);
    REFUSED(efscrypt_fs_create(store, root, bytes("a"), 1, &set, 0, NULL, &made, NULL));
    set.size = sizeof set;
    set.valid = UINT32_MAX;
    REFUSED(efscrypt_fs_create(store, root, bytes("a"), 1, &set, 0, NULL, &made, NULL));
    REFUSED(efscrypt_fs_setattr(store, root, &set, NULL, NULL));
    REFUSED(efscrypt_fs_setattr(store, root, NULL, NULL, NULL));
    IS(STALE, efscrypt_fs_mkdir(store, UINT64_MAX, bytes("a"), 1, NULL, &made, NULL));
    REFUSED(efscrypt_fs_symlink(store, root, bytes("a"), 1, NULL, 1, NULL, &made, NULL));
    REFUSED(efscrypt_fs_symlink(store, root, bytes("a"), 1, NULL, 0, NULL, &made, NULL));
    REFUSED(efscrypt_fs_mknod(store, root, bytes("a"), 1, 0100000, 0, NULL, &made, NULL));
    REFUSED(efscrypt_fs_mknod(store, root, bytes("a"), 1, 0, 0, NULL, &made, NULL));
    IS(IS_DIRECTORY, efscrypt_fs_link(store, root, root, bytes("a"), 1, NULL, NULL, NULL));
    IS(STALE, efscrypt_fs_getattr(store, 4711, &made.attr, NULL));
    REFUSED(efscrypt_fs_getattr(NULL, root, &made.attr, NULL));
    IS(NOT_FOUND, efscrypt_fs_lookup(store, root, bytes("a"), 1, &made.attr, NULL));
    IS(NOT_FOUND, efscrypt_fs_unlink(store, root, bytes("a"), 1, NULL, NULL));
    REFUSED(efscrypt_fs_unlink(NULL, root, bytes("a"), 1, NULL, NULL));
    IS(NOT_FOUND, efscrypt_fs_rmdir(store, root, bytes("a"), 1, NULL, NULL));
    REFUSED(efscrypt_fs_rename(store, root, NULL, 1, root, bytes("b"), 1, 0, NULL, NULL, NULL));
    REFUSED(efscrypt_fs_rename(store, root, bytes("a"), 1, root, bytes("b"), 1, 99, NULL, NULL, NULL));
    REFUSED(efscrypt_fs_readdir(store, root, 0, NULL, NULL, NULL, NULL));
    REFUSED(efscrypt_fs_readdir_plus(store, root, 0, NULL, NULL, NULL, NULL));
    if (memcmp(&made, &before, sizeof made) != 0)
        exit(3);
}

static void handles(efscrypt_store *store)
{
    efscrypt_handle handle;
    uint8_t junk[64];
    memset(junk, 0xee, sizeof junk);
    REFUSED(efscrypt_fs_handle(store, EFSCRYPT_ROOT, NULL, NULL));
    REFUSED(efscrypt_fs_handle(NULL, EFSCRYPT_ROOT, &handle, NULL));
    IS(STALE, efscrypt_fs_handle(store, 4711, &handle, NULL));
    REFUSED(efscrypt_fs_by_handle(store, NULL, 48, NULL, NULL));
    REFUSED(efscrypt_fs_by_handle(store, junk, SIZE_MAX, NULL, NULL));
    IS(BAD_HANDLE, efscrypt_fs_by_handle(store, NULL, 0, NULL, NULL));
    for (size_t len = 0; len <= sizeof junk; len++)
        IS(BAD_HANDLE, efscrypt_fs_by_handle(store, junk, len, NULL, NULL));
    REFUSED(efscrypt_fs_statfs(store, NULL, NULL));
    REFUSED(efscrypt_store_maintain(NULL, NULL, NULL));
    REFUSED(efscrypt_store_write_verifier(store, NULL, NULL));
    REFUSED(efscrypt_provider_audit(NULL, "/nonexistent/log", NULL, NULL, NULL));
    REFUSED(efscrypt_audit_verify(NULL, NULL, NULL));
    REFUSED(efscrypt_fs_close(store, EFSCRYPT_ROOT, NULL));
}

static void contents(efscrypt_store *store)
{
    efscrypt_created made;
    efscrypt_error error;
    uint8_t buf[16] = {0};
    size_t done = 77;
    IS(OK, create(store, EFSCRYPT_ROOT, "file", 4, &made));
    uint64_t ino = made.attr.ino;
    REFUSED(efscrypt_fs_write(NULL, ino, 0, buf, 1, NULL, NULL));
    REFUSED(efscrypt_fs_write(store, ino, 0, NULL, 1, NULL, NULL));
    REFUSED(efscrypt_fs_write(store, ino, 0, buf, SIZE_MAX, NULL, NULL));
    IS(FILE_TOO_LARGE, efscrypt_fs_write(store, ino, UINT64_MAX, bytes("x"), 1, NULL, NULL));
    IS(IS_DIRECTORY, efscrypt_fs_write(store, EFSCRYPT_ROOT, 0, bytes("x"), 1, NULL, NULL));
    IS(STALE, efscrypt_fs_write(store, 99, 0, NULL, 0, NULL, NULL));
    REFUSED(efscrypt_fs_read(store, ino, 0, NULL, 1, &done, NULL, NULL));
    REFUSED(efscrypt_fs_read(store, ino, 0, buf, SIZE_MAX, &done, NULL, NULL));
    REFUSED(efscrypt_fs_read(store, ino, 0, buf, sizeof buf, NULL, NULL, NULL));
    REFUSED(efscrypt_fs_read(NULL, ino, 0, buf, sizeof buf, &done, NULL, NULL));
    REFUSED(efscrypt_fs_readlink(store, ino, buf, sizeof buf, &done, NULL));
    REFUSED(efscrypt_fs_set_xattr(store, ino, bytes("a"), 1, buf, 1, 99, NULL, NULL));
    REFUSED(efscrypt_fs_set_xattr(store, ino, NULL, 0, buf, 1, 0, NULL, NULL));
    REFUSED(efscrypt_fs_list_xattrs(store, ino, buf, sizeof buf, NULL, NULL));
    if (done != 77)
        exit(3);
    memset(&error, 0xee, sizeof error);
    IS(STALE, efscrypt_fs_read(store, 99, 0, buf, sizeof buf, &done, NULL, &error));
    if (error.status != EFSCRYPT_STATUS_STALE || memchr(error.message, 0, sizeof error.message) == NULL)
        exit(4);
    IS(OK, efscrypt_fs_read(store, ino, UINT64_MAX, buf, sizeof buf, &done, NULL, NULL));
    if (done != 0)
        exit(5);
    /* After all this the store works. */
    IS(OK, efscrypt_fs_write(store, ino, 0, bytes("still here"), 10, NULL, NULL));
    IS(OK, efscrypt_store_commit(store, NULL));
    IS(OK, efscrypt_fs_read(store, ino, 0, buf, sizeof buf, &done, NULL, NULL));
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
    handles(store);
    contents(store);
    IS(OK, efscrypt_store_close(store, NULL));
    efscrypt_provider_free(provider);
    printf("%d calls, all refused\n", checks);
    return 0;
}
