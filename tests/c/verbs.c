/* Does with a store what a file server does, with every verb of the interface: what one gives another
 * must take, and what was said to be durable must be there after reopening. */
#include "efscrypt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define NAME(text) (const uint8_t *)(text), strlen(text)
#define ROOT EFSCRYPT_ROOT

static efscrypt_error error;
static int line_of_call;

#define OK(call) (line_of_call = __LINE__, must(call))
#define IS(wanted, call) (line_of_call = __LINE__, want(EFSCRYPT_STATUS_##wanted, call))
#define CHECK(truth) (line_of_call = __LINE__, check(truth))

static void check(bool truth)
{
    if (!truth) {
        fprintf(stderr, "line %d does not hold: %s\n", line_of_call, error.message);
        exit(1);
    }
}

static void want(efscrypt_status wanted, efscrypt_status status)
{
    if (status != wanted)
        fprintf(stderr, "status %u, not %u\n", (unsigned)status, (unsigned)wanted);
    check(status == wanted);
}

static void must(efscrypt_status status)
{
    want(EFSCRYPT_STATUS_OK, status);
}

/* A key service that keeps what it wraps, by the number of the wrap. */
struct service {
    uint8_t kept[16][32];
    uint32_t sums[16];
    uint8_t count;
    int freed;
};

static uint32_t sum(const uint8_t *context, size_t len)
{
    uint32_t sum = 17;
    while (len-- > 0)
        sum = sum * 31 + *context++;
    return sum;
}

static uint32_t wrap(void *userdata, const char *key, const uint8_t *context, size_t context_len,
                     const uint8_t *secret, uint8_t *blob, size_t *blob_len, char *id)
{
    struct service *service = (struct service *)userdata;
    if (strcmp(key, "alias/customer") != 0)
        return EFSCRYPT_STATUS_KEY_NOT_FOUND;
    if (service->count == 16 || *blob_len != 0 || strcmp(id, key) != 0)
        return EFSCRYPT_STATUS_KEY_DENIED;
    memcpy(service->kept[service->count], secret, 32);
    service->sums[service->count] = sum(context, context_len);
    *blob = service->count++;
    *blob_len = 1;
    strcpy(id, "key-4711");
    return 0;
}

static uint32_t unwrap(void *userdata, const char *id, const uint8_t *context, size_t context_len,
                       const uint8_t *blob, size_t blob_len, uint8_t *secret)
{
    struct service *service = (struct service *)userdata;
    if (strcmp(id, "key-4711") != 0)
        return EFSCRYPT_STATUS_KEY_NOT_FOUND;
    if (blob_len != 1 || *blob >= service->count || service->sums[*blob] != sum(context, context_len))
        return EFSCRYPT_STATUS_CORRUPT;
    memcpy(secret, service->kept[*blob], 32);
    return 0;
}

static void freed(void *userdata)
{
    ((struct service *)userdata)->freed += 1;
}

struct listing {
    efscrypt_store *store;
    int entries;
    uint64_t sizes;
};

static int32_t list(void *userdata, const efscrypt_dir_entry *entry)
{
    struct listing *listing = (struct listing *)userdata;
    efscrypt_attr attr;
    OK(efscrypt_fs_getattr(listing->store, entry->ino, &attr, &error));
    CHECK(entry->attr == NULL || entry->attr->ino == attr.ino);
    if (entry->attr != NULL && !efscrypt_mode_is_dir(entry->kind))
        listing->sizes += entry->attr->size;
    listing->entries += 1;
    return 0;
}

static void names(efscrypt_store *store, uint64_t *dir, uint64_t *file)
{
    efscrypt_created made;
    efscrypt_wcc wcc, other;
    efscrypt_attr attr;
    efscrypt_set_attr set;
    struct listing listing = {store, 0, 0};
    bool end = false;

    memset(&set, 0, sizeof set);
    set.size = sizeof set;
    set.valid = EFSCRYPT_SET_MODE | EFSCRYPT_SET_UID | EFSCRYPT_SET_GID | EFSCRYPT_SET_MTIME;
    set.mode = 02775;
    set.uid = 1000;
    set.gid = 100;
    set.mtime.seconds = 1;
    OK(efscrypt_fs_mkdir(store, ROOT, NAME("dir"), &set, &made, &error));
    *dir = made.attr.ino;
    CHECK(made.created == 1 && made.attr.mtime.seconds == 1 && made.dir.after.nlink == 3);
    OK(efscrypt_fs_create(store, *dir, NAME("file"), NULL, EFSCRYPT_CREATE_GUARDED, NULL, &made, &error));
    *file = made.attr.ino;
    CHECK(made.attr.gid == 100 && (made.attr.mode & 07777) == 0600 && made.dir.after.entries == 1);
    OK(efscrypt_fs_symlink(store, *dir, NAME("link"), NAME("file"), NULL, &made, &error));
    OK(efscrypt_fs_mknod(store, *dir, NAME("pipe"), 0010000, 0, NULL, NULL, &error));
    OK(efscrypt_fs_link(store, *file, ROOT, NAME("twin"), &wcc, &other, &error));
    CHECK(wcc.before.change != wcc.after.change && wcc.after.nlink == 2 && other.after.entries == 2);
    OK(efscrypt_fs_rename(store, ROOT, NAME("twin"), *dir, NAME("pipe"), EFSCRYPT_RENAME_EXCHANGE, NULL,
                          NULL, &error));
    IS(EXISTS, efscrypt_fs_rename(store, ROOT, NAME("twin"), *dir, NAME("file"),
                                  EFSCRYPT_RENAME_NO_REPLACE, NULL, NULL, &error));
    OK(efscrypt_fs_rename(store, *dir, NAME("pipe"), *dir, NAME("also"), EFSCRYPT_RENAME_REPLACE, &wcc,
                          NULL, &error));
    CHECK(wcc.after.ino == *dir);
    OK(efscrypt_fs_lookup(store, *dir, NAME("also"), &attr, &error));
    CHECK(attr.ino == *file);
    OK(efscrypt_fs_unlink(store, ROOT, NAME("twin"), &wcc, &error));
    /* A whiteout takes the place of a name that moves. */
    OK(efscrypt_fs_mkdir(store, *dir, NAME("old"), NULL, NULL, &error));
    IS(INVALID_ARGUMENT, efscrypt_fs_rename_whiteout(store, *dir, NAME("old"), ROOT, NAME("dir"),
                                                     EFSCRYPT_RENAME_EXCHANGE, NULL, NULL, NULL, NULL, &error));
    OK(efscrypt_fs_rename_whiteout(store, *dir, NAME("old"), ROOT, NAME("new"), EFSCRYPT_RENAME_NO_REPLACE,
                                   NULL, &attr, &wcc, &other, &error));
    CHECK(attr.mode == 0020000 && attr.rdev == 0 && attr.nlink == 1 && wcc.after.nlink == 2);
    CHECK(wcc.after.size == wcc.before.size && other.after.nlink == 4);
    OK(efscrypt_fs_unlink(store, *dir, NAME("old"), NULL, &error));
    OK(efscrypt_fs_rmdir(store, ROOT, NAME("new"), NULL, &error));
    IS(NOT_EMPTY, efscrypt_fs_rmdir(store, ROOT, NAME("dir"), NULL, &error));
    OK(efscrypt_fs_mkdir(store, ROOT, NAME("empty"), NULL, NULL, &error));
    OK(efscrypt_fs_rmdir(store, ROOT, NAME("empty"), &wcc, &error));
    OK(efscrypt_fs_readdir_plus(store, *dir, 0, list, &listing, &end, &error));
    CHECK(end && listing.entries == 5 && listing.sizes == 4);
}

/* A list that names a user gives its mask to the user, not to the owning group. */
static void lists(efscrypt_store *store, uint64_t dir)
{
    static const uint8_t list[] = {
        2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 2, 0, 6, 0, 77, 0, 0, 0, 4, 0, 0, 0, 255, 255, 255, 255,
        16, 0, 7, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255,
    };
    const uint32_t groups[] = { 5, 9 };
    efscrypt_credentials who;
    efscrypt_set_attr set;
    efscrypt_created made;
    efscrypt_wcc wcc;
    uint8_t back[64];
    uint32_t granted = 7;
    size_t done = 0;

    OK(efscrypt_fs_set_acl(store, dir, EFSCRYPT_ACL_DEFAULT, list, sizeof list, NULL, &error));
    memset(&set, 0, sizeof set);
    set.size = sizeof set;
    set.valid = EFSCRYPT_SET_MODE | EFSCRYPT_SET_UMASK | EFSCRYPT_SET_GID;
    set.mode = 0666;
    set.umask = 0077;
    set.gid = 9;
    OK(efscrypt_fs_create(store, dir, NAME("listed"), &set, EFSCRYPT_CREATE_GUARDED, NULL, &made, &error));
    CHECK((made.attr.mode & 0777) == 0660);
    OK(efscrypt_fs_get_acl(store, made.attr.ino, EFSCRYPT_ACL_ACCESS, back, sizeof back, &done, &error));
    CHECK(done == sizeof list && back[12] == 2);
    memset(&who, 0, sizeof who);
    who.size = sizeof who;
    who.uid = 77;
    OK(efscrypt_fs_access(store, made.attr.ino, &who, EFSCRYPT_READ | EFSCRYPT_WRITE, &granted, &error));
    CHECK(granted == 1);
    who.uid = 78;
    who.groups = groups;
    who.groups_len = 2;
    OK(efscrypt_fs_access(store, made.attr.ino, &who, EFSCRYPT_READ, &granted, &error));
    CHECK(granted == 0);
    IS(INVALID_ARGUMENT, efscrypt_fs_access(store, made.attr.ino, &who, 8, &granted, &error));
    IS(INVALID_ARGUMENT, efscrypt_fs_set_acl(store, dir, EFSCRYPT_ACL_ACCESS, list, 13, NULL, &error));
    OK(efscrypt_fs_set_acl_as(store, EFSCRYPT_STANDING_MEMBER, made.attr.ino, EFSCRYPT_ACL_ACCESS, NULL, 0, &wcc, &error));
    IS(NO_ATTRIBUTE, efscrypt_fs_get_acl(store, made.attr.ino, EFSCRYPT_ACL_ACCESS, NULL, 0, &done, &error));
    OK(efscrypt_fs_set_acl(store, dir, EFSCRYPT_ACL_DEFAULT, NULL, 0, NULL, &error));
    set.valid = EFSCRYPT_SET_UMASK;
    IS(INVALID_ARGUMENT, efscrypt_fs_setattr(store, made.attr.ino, &set, NULL, &error));
    set.valid = EFSCRYPT_SET_MODE | EFSCRYPT_SET_UMASK;
    OK(efscrypt_fs_create(store, dir, NAME("masked"), &set, EFSCRYPT_CREATE_GUARDED, NULL, &made, &error));
    CHECK((made.attr.mode & 0777) == 0600);
    OK(efscrypt_fs_unlink(store, dir, NAME("listed"), NULL, &error));
    OK(efscrypt_fs_unlink(store, dir, NAME("masked"), NULL, &error));
}

static void contents(efscrypt_store *store, uint64_t dir, uint64_t file)
{
    static uint8_t page[8192], back[8192];
    efscrypt_set_attr set;
    efscrypt_wcc wcc;
    efscrypt_attr attr;
    efscrypt_statfs statfs;
    uint64_t at = 0;
    size_t done = 0;
    bool eof = false;

    memset(page, 7, sizeof page);
    OK(efscrypt_fs_write(store, file, 0, page, sizeof page, &wcc, &error));
    CHECK(wcc.before.size == 0 && wcc.after.size == sizeof page);
    OK(efscrypt_fs_append(store, file, page, 5, &wcc, &error));
    OK(efscrypt_fs_punch_hole(store, file, 0, 4096, &wcc, &error));
    OK(efscrypt_fs_seek_data(store, file, 0, &at, &error));
    CHECK(at == 4096);
    OK(efscrypt_fs_seek_hole(store, file, at, &at, &error));
    CHECK(at == sizeof page + 5);
    OK(efscrypt_fs_read(store, file, 0, back, sizeof back, &done, &eof, &error));
    CHECK(done == sizeof back && !eof && back[0] == 0 && back[4096] == 7);
    memset(&set, 0, sizeof set);
    set.size = sizeof set;
    set.valid = EFSCRYPT_SET_SIZE | EFSCRYPT_SET_MTIME_NOW;
    set.file_size = 4100;
    OK(efscrypt_fs_setattr(store, file, &set, &wcc, &error));
    CHECK(wcc.after.size == 4100);
    OK(efscrypt_fs_lookup(store, dir, NAME("link"), &attr, &error));
    OK(efscrypt_fs_readlink(store, attr.ino, back, sizeof back, &done, &error));
    CHECK(done == 4 && memcmp(back, "file", 4) == 0);
    /* Contents that change take set-ID bits away, unless the caller keeps them. */
    set.valid = EFSCRYPT_SET_MODE;
    set.mode = 06755;
    const uint32_t keeps = EFSCRYPT_STANDING_PRIVILEGED;
    OK(efscrypt_fs_setattr_as(store, keeps, file, &set, &wcc, &error));
    OK(efscrypt_fs_write_as(store, keeps, file, 4096, page, 4, &wcc, &error));
    OK(efscrypt_fs_append_as(store, keeps, file, page, 4096, &wcc, &error));
    OK(efscrypt_fs_punch_hole_as(store, keeps, file, 0, 10, &wcc, &error));
    CHECK((wcc.after.mode & 07777) == 06755 && wcc.after.size == 8196);
    IS(INVALID_ARGUMENT, efscrypt_fs_append_as(store, 3, file, page, 1, NULL, &error));
    OK(efscrypt_fs_allocate_as(store, keeps, file, 8000, 1000, EFSCRYPT_BEYOND_GROW, &wcc, &error));
    CHECK((wcc.after.mode & 07777) == 06755 && wcc.after.size == 9000);
    OK(efscrypt_fs_zero_range_as(store, keeps, file, 8990, 20, EFSCRYPT_BEYOND_GROW, &wcc, &error));
    CHECK((wcc.after.mode & 07777) == 06755 && wcc.after.size == 9010);
    OK(efscrypt_fs_write_delegated_as(store, keeps, file, 4096, page, 4, &wcc, &error));
    CHECK((wcc.after.mode & 07777) == 06755 && wcc.after.change != wcc.before.change);
    CHECK(memcmp(&wcc.after.mtime, &wcc.before.mtime, sizeof wcc.after.mtime) == 0);
    OK(efscrypt_fs_write_delegated(store, file, 4096, page, 4, &wcc, &error));
    CHECK((wcc.after.mode & 07777) == 0755 && wcc.after.change != wcc.before.change);
    CHECK(memcmp(&wcc.after.mtime, &wcc.before.mtime, sizeof wcc.after.mtime) == 0);
    OK(efscrypt_fs_write(store, file, 0, page, 1, &wcc, &error));
    CHECK(memcmp(&wcc.after.mtime, &wcc.before.mtime, sizeof wcc.after.mtime) != 0);
    OK(efscrypt_fs_allocate(store, file, 0, 20000, EFSCRYPT_BEYOND_KEEP, &wcc, &error));
    OK(efscrypt_fs_zero_range(store, file, 4096, 20000, EFSCRYPT_BEYOND_KEEP, &wcc, &error));
    CHECK(wcc.after.size == 9010);
    IS(INVALID_ARGUMENT, efscrypt_fs_allocate(store, file, 0, 1, 2, NULL, &error));
    set.valid = EFSCRYPT_SET_SIZE;
    OK(efscrypt_fs_setattr(store, file, &set, &wcc, &error));
    OK(efscrypt_fs_set_xattr(store, file, NAME("user.a"), page, 100, EFSCRYPT_XATTR_CREATE, NULL, &error));
    OK(efscrypt_fs_get_xattr(store, file, NAME("user.a"), back, sizeof back, &done, &error));
    CHECK(done == 100 && memcmp(back, page, 100) == 0);
    OK(efscrypt_fs_list_xattrs(store, file, back, sizeof back, &done, &error));
    CHECK(done == 7 && memcmp(back, "user.a", 7) == 0);
    OK(efscrypt_fs_remove_xattr(store, file, NAME("user.a"), NULL, &error));
    lists(store, dir);
    OK(efscrypt_fs_statfs(store, &statfs, &error));
    CHECK(statfs.block_size == 4096 && statfs.free < statfs.total);
    OK(efscrypt_fs_fsync(store, file, &error));
}

/* A file that is open stays without a name, and goes with its last close. */
static void open_files(efscrypt_store *store)
{
    efscrypt_created made;
    uint8_t byte;
    size_t done;
    OK(efscrypt_fs_create(store, ROOT, NAME("gone"), NULL, EFSCRYPT_CREATE_GUARDED, NULL, &made, &error));
    for (int opens = 0; opens < 3; opens++)
        OK(efscrypt_fs_open(store, made.attr.ino, &error));
    OK(efscrypt_fs_close_times(store, made.attr.ino, 2, &error));
    OK(efscrypt_fs_unlink(store, ROOT, NAME("gone"), NULL, &error));
    OK(efscrypt_fs_write(store, made.attr.ino, 0, NAME("x"), NULL, &error));
    OK(efscrypt_fs_read(store, made.attr.ino, 0, &byte, 1, &done, NULL, &error));
    CHECK(done == 1 && byte == 'x');
    OK(efscrypt_fs_close(store, made.attr.ino, &error));
    IS(STALE, efscrypt_fs_read(store, made.attr.ino, 0, &byte, 1, &done, NULL, &error));
    OK(efscrypt_fs_open(store, ROOT, &error));
    OK(efscrypt_fs_close_all(store, &error));
    IS(INVALID_ARGUMENT, efscrypt_fs_close(store, ROOT, &error));
}

/* What a store says of itself, and its contents out of reach for a while. */
static void whole(efscrypt_store *store, uint64_t file)
{
    const efscrypt_description *description = NULL;
    efscrypt_check_report report;
    efscrypt_recovery recovery;
    uint8_t byte;
    size_t done;
    bool available = false;
    OK(efscrypt_store_describe(store, &description, &error));
    CHECK(description->name == NULL && description->tags_len == 1 && description->created > 0);
    CHECK(strcmp(description->tags[0].key, "team") == 0);
    CHECK(strcmp(description->data.key_id, "key-4711") == 0 && description->data.version == 1);
    CHECK(strcmp(description->metadata.provider, "kept") == 0);
    CHECK(description->metadata.key_state == EFSCRYPT_KEY_ENABLED);
    efscrypt_description_free(description);
    OK(efscrypt_store_recovery(store, &recovery, &error));
    CHECK(recovery.records == 0 && recovery.transactions == 0 && recovery.bytes == 0);
    OK(efscrypt_store_checkpoint(store, &error));
    OK(efscrypt_store_check(store, &report, &error));
    CHECK(report.clean == 1 && report.findings == 0 && report.directories == 2);
    OK(efscrypt_store_lock_data(store, &error));
    OK(efscrypt_store_has_data_key(store, &available, &error));
    CHECK(!available);
    IS(KEY_UNAVAILABLE, efscrypt_fs_read(store, file, 0, &byte, 1, &done, NULL, &error));
    IS(KEY_UNAVAILABLE, efscrypt_fs_write(store, file, 0, &byte, 1, NULL, &error));
    CHECK(error.done == 0);
    OK(efscrypt_store_unlock_data(store, &error));
    OK(efscrypt_store_has_data_key(store, &available, &error));
    CHECK(available);
    OK(efscrypt_fs_read(store, file, 0, &byte, 1, &done, NULL, &error));
}

#ifdef EFSCRYPT_LOCAL_KMS
/* A key service in a file that a key file opens. */
static void key_service(const char *place)
{
    char file[4096], key_file[4096], id[EFSCRYPT_KEY_ID_LEN];
    efscrypt_provider *keys = NULL;
    snprintf(file, sizeof file, "%s/kms.json", place);
    snprintf(key_file, sizeof key_file, "%s/kms.key", place);
    OK(efscrypt_local_kms_create_with_key_file(file, key_file, "alias/first", &error));
    OK(efscrypt_local_kms_create_key_with_key_file(file, key_file, "alias/second", id, &error));
    CHECK(strlen(id) == 32);
    IS(INVALID_ARGUMENT, efscrypt_local_kms_create_key(file, NAME("none"), NULL, NULL, &error));
    OK(efscrypt_provider_open_local_with_key_file(file, key_file, &keys, &error));
    efscrypt_provider_free(keys);
}
#endif

static void forked(efscrypt_store *store, efscrypt_provider *keys)
{
    int status = 0;
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        alarm(20);
        IS(FORKED, efscrypt_fs_getattr(store, ROOT, NULL, &error));
        IS(FORKED, efscrypt_store_commit(store, &error));
        IS(FORKED, efscrypt_store_close(store, &error));
        efscrypt_provider_free(keys);
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

int main(int argc, char **argv)
{
    static struct service service;
    efscrypt_provider_ops ops = {sizeof ops, wrap, unwrap, freed};
    efscrypt_provider *keys = NULL;
    efscrypt_store *store = NULL;
    efscrypt_options options;
    efscrypt_rewrap to;
    efscrypt_pair context = {"tenant", "acme"}, tag = {"team", "storage"};
    efscrypt_handle handle;
    efscrypt_attr attr;
    uint64_t dir, file, verifier, next;
    bool done = false;
    char path[4096];

    CHECK(efscrypt_abi_version() == EFSCRYPT_ABI_VERSION && strlen(efscrypt_version()) > 0);
    CHECK(efscrypt_status_errno(EFSCRYPT_STATUS_NOT_FOUND) == 2);
    snprintf(path, sizeof path, "%s/verbs.efs", argc > 1 ? argv[1] : ".");
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.log_bytes = 1 << 20;
    options.context = &context;
    options.context_len = 1;
    options.tags = &tag;
    options.tags_len = 1;
    OK(efscrypt_provider_create("kept", &ops, &service, &keys, &error));
    IS(KEY_NOT_FOUND, efscrypt_store_create(path, &options, keys, "alias/other", keys, "alias/other",
                                            &store, &error));
    OK(efscrypt_store_create(path, &options, keys, "alias/customer", keys, "alias/customer", &store,
                             &error));
    names(store, &dir, &file);
    contents(store, dir, file);
    open_files(store);
    whole(store, file);
    OK(efscrypt_fs_handle(store, file, &handle, &error));
    OK(efscrypt_store_write_verifier(store, &verifier, &error));
    memset(&to, 0, sizeof to);
    to.size = sizeof to;
    to.metadata = keys;
    to.metadata_key = "alias/customer";
    OK(efscrypt_store_rewrap(store, &to, &error));
    forked(store, keys);
    do
        OK(efscrypt_store_maintain(store, &done, &error));
    while (!done);
    OK(efscrypt_store_commit(store, &error));
    OK(efscrypt_store_close(store, &error));

    options.read_only = 1;
    OK(efscrypt_store_open(path, &options, keys, keys, &store, &error));
    OK(efscrypt_fs_by_handle(store, handle.bytes, handle.len, &attr, &error));
    CHECK(attr.ino == file && attr.size == 4100 && attr.nlink == 2);
    IS(READ_ONLY, efscrypt_fs_unlink(store, dir, NAME("file"), NULL, &error));
    OK(efscrypt_store_write_verifier(store, &next, &error));
    OK(efscrypt_store_close(store, &error));
    options.data_optional = 1;
    OK(efscrypt_store_open(path, &options, keys, NULL, &store, &error));
    OK(efscrypt_fs_getattr(store, file, &attr, &error));
    OK(efscrypt_store_close(store, &error));
    options.data_optional = 0;
    options.context_len = 0;
    IS(CORRUPT, efscrypt_store_open(path, &options, keys, keys, &store, &error));
    efscrypt_provider_free(keys);
    CHECK(service.freed == 1);
#ifdef EFSCRYPT_LOCAL_KMS
    key_service(argc > 1 ? argv[1] : ".");
#endif
    printf("all verbs work\n");
    return 0;
}
