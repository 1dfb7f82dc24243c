// Writes files around the page cache, and looks at them through it.
//
//   direct DIR SECONDS SEED
//
// Asynchronous (Linux AIO, io_uring) and synchronous direct writes, buffered ones, stores into
// mapped memory, truncations, holes and zeros, each where it is likely to meet the last ones. Two
// readers of each file, one buffered and one of mapped memory, keep pulling it into the cache
// meanwhile. What an operation left must be seen by every way of reading as soon as it is done; that
// is compared with a copy in memory. Prints how many operations were checked; status 1 and a line
// for each of the first mismatches where something else was read.
//
// cc -O2 -pthread direct.c

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/falloc.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { FILES = 3, SPACE = 512 << 10, PIECES = 8, PAGE = 4096, SHOWN = 5 };

struct file {
    char path[4096];
    int number, direct, buffered;
    char *map;            // shared, of all of SPACE
    char *want;           // what is to be there
    size_t size;
    char *out, *in;       // aligned
    uint64_t dice;
    aio_context_t aio;
    int ring;             // io_uring, -1 where it is not to be had
    struct io_uring_params params;
    char *sq, *cq;
    struct io_uring_sqe *sqes;
    long done, bad;
};

static time_t until;

static void die(const char *what) {
    perror(what);
    exit(2);
}

static uint64_t roll(struct file *f, uint64_t below) {
    f->dice ^= f->dice << 13;
    f->dice ^= f->dice >> 7;
    f->dice ^= f->dice << 17;
    return (f->dice >> 11) % below;
}

static void fill(struct file *f, char *at, size_t len) {
    uint64_t word = 0;
    for (size_t i = 0; i < len; i++) {
        if (i % 512 == 0) word = roll(f, 255) + 1;
        at[i] = (char)(word + i / 512);
    }
}

static void differs(struct file *f, const char *what, const char *how, size_t at) {
    if (f->bad++ < SHOWN)
        printf("%s: after %s, %s reads something else at %zu of %zu\n", f->path, what, how, at,
               f->size);
}

static void compare(struct file *f, const char *what, const char *how, const char *have,
                    size_t from, size_t len) {
    for (size_t i = 0; i < len; i++)
        if (have[i] != f->want[from + i]) return differs(f, what, how, from + i);
}

// Looks at a range in every way there is.
static void look(struct file *f, const char *what, size_t from, size_t to) {
    if (to > f->size) to = f->size;
    if (from >= to) return;
    size_t len = to - from;
    ssize_t got = pread(f->buffered, f->in, len, (off_t)from);
    if (got != (ssize_t)len) return differs(f, what, "a short read", from);
    compare(f, what, "a buffered read", f->in, from, len);
    compare(f, what, "mapped memory", f->map + from, from, len);
    size_t first = from / PAGE * PAGE, whole = (to - first + PAGE - 1) / PAGE * PAGE;
    got = pread(f->direct, f->in, whole, (off_t)first);
    if (got < (ssize_t)(to - first)) return differs(f, what, "a short direct read", from);
    compare(f, what, "a direct read", f->in + (from - first), from, len);
}

static void grown(struct file *f, size_t end) {
    if (end > f->size) f->size = end;
}

// Neighbouring pieces, written at once and awaited.
struct piece { size_t at, len; };

static int pieces(struct file *f, struct piece *piece) {
    // Mostly inside the file: what makes it grow is not asynchronous.
    size_t len = PAGE << roll(f, 5), room = f->size > SPACE / 2 ? f->size : SPACE / 2;
    int count = 1 + (int)roll(f, PIECES);
    size_t start = roll(f, room / PAGE) * PAGE;
    for (int i = 0; i < count; i++) {
        piece[i].at = start + (size_t)i * len;
        piece[i].len = len;
        if (piece[i].at + len > SPACE) return i;
        fill(f, f->out + piece[i].at, len);
    }
    return count;
}

static void landed(struct file *f, const char *what, struct piece *piece, int count) {
    size_t end = piece[count - 1].at + piece[count - 1].len;
    memcpy(f->want + piece[0].at, f->out + piece[0].at, end - piece[0].at);
    grown(f, end);
    look(f, what, piece[0].at, end);
}

static void aio(struct file *f) {
    struct piece piece[PIECES];
    struct iocb block[PIECES], *list[PIECES];
    struct io_event event[PIECES];
    int count = pieces(f, piece);
    if (!count) return;
    memset(block, 0, sizeof block);
    for (int i = 0; i < count; i++) {
        list[i] = &block[i];
        block[i].aio_lio_opcode = IOCB_CMD_PWRITE;
        block[i].aio_fildes = (uint32_t)f->direct;
        block[i].aio_buf = (uintptr_t)(f->out + piece[i].at);
        block[i].aio_nbytes = piece[i].len;
        block[i].aio_offset = (int64_t)piece[i].at;
    }
    if (syscall(SYS_io_submit, f->aio, count, list) != count) die("io_submit");
    if (syscall(SYS_io_getevents, f->aio, count, count, event, NULL) != count) die("io_getevents");
    for (int i = 0; i < count; i++)
        if (event[i].res != (int64_t)piece[0].len) die("a short asynchronous write");
    landed(f, "Linux AIO", piece, count);
}

static void ring_open(struct file *f) {
    f->ring = (int)syscall(SYS_io_uring_setup, PIECES, &f->params);
    if (f->ring < 0) return;
    struct io_sqring_offsets *sq = &f->params.sq_off;
    struct io_cqring_offsets *cq = &f->params.cq_off;
    int prot = PROT_READ | PROT_WRITE, how = MAP_SHARED | MAP_POPULATE;
    f->sq = mmap(NULL, sq->array + f->params.sq_entries * 4, prot, how, f->ring,
                 IORING_OFF_SQ_RING);
    f->cq = mmap(NULL, cq->cqes + f->params.cq_entries * sizeof(struct io_uring_cqe), prot, how,
                 f->ring, IORING_OFF_CQ_RING);
    f->sqes = mmap(NULL, f->params.sq_entries * sizeof(struct io_uring_sqe), prot, how, f->ring,
                   IORING_OFF_SQES);
    void *sqes = f->sqes;
    if (f->sq == MAP_FAILED || f->cq == MAP_FAILED || sqes == MAP_FAILED) die("io_uring");
}

static void uring(struct file *f) {
    struct piece piece[PIECES];
    if (f->ring < 0) return aio(f);
    int count = pieces(f, piece);
    if (!count) return;
    struct io_sqring_offsets *sq = &f->params.sq_off;
    struct io_cqring_offsets *cq = &f->params.cq_off;
    uint32_t *tail = (uint32_t *)(f->sq + sq->tail), mask = *(uint32_t *)(f->sq + sq->ring_mask);
    uint32_t at = *tail;
    for (int i = 0; i < count; i++, at++) {
        struct io_uring_sqe *entry = &f->sqes[at & mask];
        memset(entry, 0, sizeof *entry);
        entry->opcode = IORING_OP_WRITE;
        entry->fd = f->direct;
        entry->addr = (uintptr_t)(f->out + piece[i].at);
        entry->len = (uint32_t)piece[i].len;
        entry->off = piece[i].at;
        ((uint32_t *)(f->sq + sq->array))[at & mask] = at & mask;
    }
    __atomic_store_n(tail, at, __ATOMIC_RELEASE);
    int how = IORING_ENTER_GETEVENTS;
    if (syscall(SYS_io_uring_enter, f->ring, count, count, how, NULL, 0) != count)
        die("io_uring_enter");
    uint32_t *head = (uint32_t *)(f->cq + cq->head);
    struct io_uring_cqe *cqes = (struct io_uring_cqe *)(f->cq + cq->cqes);
    for (int i = 0; i < count; i++) {
        uint32_t end = __atomic_load_n((uint32_t *)(f->cq + cq->tail), __ATOMIC_ACQUIRE);
        if (end == *head) die("an io_uring without answers");
        struct io_uring_cqe *entry = &cqes[*head & *(uint32_t *)(f->cq + cq->ring_mask)];
        if (entry->res != (int)piece[0].len) die("a short io_uring write");
        __atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
    }
    landed(f, "io_uring", piece, count);
}

// A synchronous write of any bytes, aligned or not.
static void put(struct file *f, int fd, const char *what, size_t at, size_t len) {
    if (at + len > SPACE) len = SPACE - at;
    if (!len) return;
    fill(f, f->out + at, len);
    ssize_t put = pwrite(fd, f->out + at, len, (off_t)at);
    // Some file systems write whole blocks only.
    if (put < 0 && errno == EINVAL && fd == f->direct) return;
    if (put != (ssize_t)len) die(what);
    memcpy(f->want + at, f->out + at, len);
    size_t start = at < f->size ? at : f->size;
    grown(f, at + len);
    look(f, what, start, at + len);
}

static void store(struct file *f) {
    if (!f->size) return;
    size_t at = roll(f, f->size), len = 1 + roll(f, 3 * PAGE);
    if (at + len > f->size) len = f->size - at;
    fill(f, f->out + at, len);
    memcpy(f->map + at, f->out + at, len);
    memcpy(f->want + at, f->out + at, len);
    look(f, "a store into mapped memory", at, at + len);
}

static void resize(struct file *f) {
    size_t size = roll(f, SPACE + 1), old = f->size;
    if (roll(f, 3)) size = SPACE / 2 + roll(f, SPACE / 2);
    if (roll(f, 2)) size = size / PAGE * PAGE;
    if (ftruncate(f->direct, (off_t)size)) die("ftruncate");
    if (size < old) memset(f->want + size, 0, old - size);
    f->size = size;
    look(f, "ftruncate", (old < size ? old : size) / PAGE * PAGE, size);
}

static void hole(struct file *f) {
    int zeros = roll(f, 2) == 0;
    int how = FALLOC_FL_KEEP_SIZE | (zeros ? FALLOC_FL_ZERO_RANGE : FALLOC_FL_PUNCH_HOLE);
    size_t at = roll(f, SPACE), len = 1 + roll(f, 16 * PAGE);
    if (roll(f, 2)) at = at / PAGE * PAGE, len = (len + PAGE - 1) / PAGE * PAGE;
    if (at + len > SPACE) len = SPACE - at;
    if (fallocate(f->direct, how, (off_t)at, (off_t)len)) {
        if (errno == EOPNOTSUPP) return;
        die("fallocate");
    }
    memset(f->want + at, 0, len);
    look(f, zeros ? "zeros" : "a hole", at / PAGE * PAGE, at + len);
}

static void step(struct file *f) {
    size_t at = roll(f, SPACE), len = 1 + roll(f, 8 * PAGE);
    switch (roll(f, 16)) {
    case 0: return put(f, f->direct, "a direct write", at / PAGE * PAGE, len / PAGE * PAGE + PAGE);
    case 1: return put(f, f->direct, "a direct write of odd bytes", at, len);
    case 2: return put(f, f->direct, "a direct write of the end", f->size, len);
    case 3: return put(f, f->buffered, "a buffered write", at, len);
    case 4: return store(f);
    case 5: return resize(f);
    case 6: return hole(f);
    case 7: case 8: case 9: case 10: return uring(f);
    default: return aio(f);
    }
}

static void *work(void *of) {
    struct file *f = of;
    if (syscall(SYS_io_setup, PIECES, &f->aio)) die("io_setup");
    ring_open(f);
    put(f, f->direct, "the first write", 0, SPACE / 2);
    while (time(NULL) < until) {
        step(f);
        if (++f->done % 64 == 0) look(f, "all of that", 0, f->size);
    }
    look(f, "all of that", 0, f->size);
    return NULL;
}

// Pulls a file into the cache for ever: by reads, or as mapped memory. That is looked at by the
// kernel, who fails beyond the file's end where a program would be killed.
static void disturb(const char *path, int mapped) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int fd = open(path, O_RDONLY), sink = memfd_create("sink", 0);
    char *map = mmap(NULL, SPACE, PROT_READ, MAP_SHARED, fd, 0), *buf = malloc(SPACE);
    if (fd < 0 || sink < 0 || map == MAP_FAILED || !buf) die(path);
    for (size_t at = 0;; at = (at + 16 * PAGE) % SPACE) {
        ssize_t got = mapped ? pwrite(sink, map + at, 16 * PAGE, 0)
                             : pread(fd, buf, 16 * PAGE, (off_t)at);
        (void)got;
    }
}

static char *aligned(void) {
    void *room;
    if (posix_memalign(&room, PAGE, SPACE + PAGE)) die("memory");
    memset(room, 0, SPACE + PAGE);
    return room;
}

int main(int count, char **args) {
    static struct file files[FILES];
    pthread_t threads[FILES];
    pid_t readers[2 * FILES];
    long done = 0, bad = 0;
    if (count != 4) return fprintf(stderr, "direct DIR SECONDS SEED\n"), 2;
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 0; i < FILES; i++) {
        struct file *f = &files[i];
        snprintf(f->path, sizeof f->path, "%s/direct.%d", args[1], i);
        f->direct = open(f->path, O_RDWR | O_CREAT | O_TRUNC | O_DIRECT, 0644);
        f->buffered = open(f->path, O_RDWR);
        if (f->direct < 0 || f->buffered < 0) die(f->path);
        f->map = mmap(NULL, SPACE, PROT_READ | PROT_WRITE, MAP_SHARED, f->buffered, 0);
        if (f->map == MAP_FAILED) die("mmap");
        f->want = aligned(), f->out = aligned(), f->in = aligned();
        f->dice = 0x9e3779b97f4a7c15u * (strtoull(args[3], NULL, 10) * FILES + (uint64_t)i + 1);
        for (int kind = 0; kind < 2; kind++) {
            pid_t *reader = &readers[2 * i + kind];
            if (!(*reader = fork())) disturb(f->path, kind);
            if (*reader < 0) die("fork");
        }
    }
    until = time(NULL) + atol(args[2]);
    for (int i = 0; i < FILES; i++)
        if (pthread_create(&threads[i], NULL, work, &files[i])) die("thread");
    for (int i = 0; i < FILES; i++) {
        pthread_join(threads[i], NULL);
        done += files[i].done, bad += files[i].bad;
    }
    for (int i = 0; i < 2 * FILES; i++) kill(readers[i], SIGKILL), waitpid(readers[i], NULL, 0);
    printf("%ld operations, %ld seen wrong%s\n", done, bad,
           files[0].ring < 0 ? ", io_uring not tried" : "");
    return bad > 0;
}
