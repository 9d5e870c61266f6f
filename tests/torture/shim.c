/* File operations below one folder, counted, written down, and disturbed at one of them.

   Preloaded before the C library. Nothing happens until geomclip_shim_arm is called (or GEOMCLIP_SHIM_ROOT is set), and
   then to that process and to what it forks: the counter lies in memory that they share. Operations are numbered from 1.
   An operation on a descriptor concerns the path that the system has for it at that moment. The file is built with
   -D_GNU_SOURCE for a 64-bit Linux, where open and open64 are one function under two names. */

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* what a fault does; tests/torture/shim.py has the same numbers */
enum { COUNT, KILL, HALF, FAIL, FULL, SIGNAL };
/* what an operation is, as bits: the classes that a fault may be limited to */
enum { IS_OPEN = 1, IS_WRITE = 2, IS_NAME = 4, IS_SYNC = 8, IS_READ = 16, ALLOCATES = 32 };
enum { RETURN_SHORT = 2 };

typedef struct {
    long count; /* operations so far */
    long full;  /* whether the disk is full from here on */
    char root[PATH_MAX];
    long length; /* of root */
    long k;
    int mode, number, with_data, with_reads, log;
} state_t;

static state_t *state;

/* ---- what is written down: a line of numbers, then two paths, then bytes ---- */

static void note(long n, const char *operation, long result, long offset, int flags, const char *path,
                 const char *other, const struct iovec *parts, int n_parts)
{
    char line[160];
    long size = 0, left, i;
    struct iovec out[20];
    if (state->log < 0)
        return;
    if (state->with_data && n_parts > 0 && result > 0)
        size = result;
    int length = snprintf(line, sizeof line, "%ld %d %s %ld %ld %d %zu %zu %ld\n", n, (int)getpid(), operation, result,
                          offset, flags, strlen(path), strlen(other), size);
    out[0] = (struct iovec){line, length};
    out[1] = (struct iovec){(void *)path, strlen(path)};
    out[2] = (struct iovec){(void *)other, strlen(other)};
    for (i = 0, left = size; i < n_parts && i < 16 && left > 0; i++) {
        out[3 + i] = parts[i];
        if ((long)out[3 + i].iov_len > left)
            out[3 + i].iov_len = left;
        left -= out[3 + i].iov_len;
    }
    syscall(SYS_writev, state->log, out, 3 + (size ? i : 0));
}

/* ---- which operations count ---- */

static int below(const char *path)
{
    return path[0] == '/' && strncmp(path, state->root, state->length) == 0 &&
           (path[state->length] == '/' || path[state->length] == 0);
}

static int path_of(int descriptor, char *path)
{
    char link[40];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    long length = readlink(link, path, PATH_MAX - 1);
    path[length > 0 ? length : 0] = 0;
    return length > 0;
}

/* The name, absolute as it stands; 1 if it lies below the root. */
static int named(int folder, const char *name, char *path)
{
    char start[PATH_MAX];
    if (!state || !name)
        return 0;
    if (name[0] == '/') {
        snprintf(path, PATH_MAX, "%s", name);
    } else {
        if (folder == AT_FDCWD ? !getcwd(start, sizeof start) : !path_of(folder, start))
            return 0;
        if ((size_t)snprintf(path, PATH_MAX, "%s/%s", start, name) >= PATH_MAX)
            return 0;
    }
    return below(path);
}

static int held(int descriptor, char *path)
{
    return state && path_of(descriptor, path) && below(path);
}

/* Count one operation and disturb it if it is the one: its number; *verdict < 0: it shall fail with that error;
   RETURN_SHORT: it shall write half; 0: it shall happen. */
static long count(int kinds, int *verdict)
{
    *verdict = 0;
    if ((kinds & IS_READ) && !state->with_reads)
        return 0;
    long n = __atomic_add_fetch(&state->count, 1, __ATOMIC_SEQ_CST);
    if (state->full && (kinds & ALLOCATES)) {
        *verdict = -ENOSPC;
    } else if (n == state->k) {
        switch (state->mode) {
        case KILL:
            kill(getpid(), SIGKILL);
            break;
        case HALF:
            if (kinds & IS_WRITE)
                *verdict = RETURN_SHORT;
            else
                kill(getpid(), SIGKILL);
            break;
        case FAIL:
            *verdict = -state->number;
            break;
        case FULL:
            state->full = 1;
            *verdict = kinds & IS_WRITE ? RETURN_SHORT : kinds & ALLOCATES ? -ENOSPC : 0;
            break;
        case SIGNAL:
            kill(getpid(), state->number);
        }
    }
    return n;
}

void geomclip_shim_arm(const char *root, long k, int mode, int number, int with_data, int with_reads, int log)
{
    state = mmap(NULL, sizeof *state, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (state == MAP_FAILED)
        abort();
    state->length = snprintf(state->root, PATH_MAX, "%s", root);
    state->k = k, state->mode = mode, state->number = number;
    state->with_data = with_data, state->with_reads = with_reads, state->log = log;
}

long geomclip_shim_count(void) { return state ? state->count : 0; }

__attribute__((constructor)) static void armed_by_environment(void)
{
    const char *root = getenv("GEOMCLIP_SHIM_ROOT"), *k = getenv("GEOMCLIP_SHIM_K"), *mode = getenv("GEOMCLIP_SHIM_MODE");
    const char *number = getenv("GEOMCLIP_SHIM_NUMBER"), *log = getenv("GEOMCLIP_SHIM_LOG");
    if (root)
        geomclip_shim_arm(root, k ? atol(k) : 0, mode ? atoi(mode) : COUNT, number ? atoi(number) : 0, 0, 0,
                          log ? open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644) : -1);
}

/* ---- the operations ---- */

#define NEXT(name) \
    static __typeof__(name) *next; \
    if (!next) \
    next = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

/* An operation of names: `call` gives its result. */
#define OPERATION(operation, kinds, ok, flags, path, other, failed, call) \
    do { \
        int verdict; \
        if (!(ok)) \
            return call; \
        long n = count(kinds, &verdict); \
        if (verdict < 0) { \
            note(n, operation, verdict, 0, flags, path, other, NULL, 0); \
            errno = -verdict; \
            return failed; \
        } \
        __typeof__(call) result = call; \
        int kept = errno; \
        note(n, operation, result == failed ? -kept : 0, 0, flags, path, other, NULL, 0); \
        errno = kept; \
        return result; \
    } while (0)

static int opened(int folder, const char *name, int flags, mode_t mode)
{
    char path[PATH_MAX];
    int ok = named(folder, name, path);
    OPERATION("open", IS_OPEN | (flags & O_CREAT ? ALLOCATES : 0), ok, flags, path, "", -1,
              (int)syscall(SYS_openat, folder, name, flags, mode));
}

#define OPENS(name) \
    int name(const char *path, int flags, ...) \
    { \
        va_list more; \
        va_start(more, flags); \
        mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(more, mode_t) : 0; \
        va_end(more); \
        return opened(AT_FDCWD, path, flags, mode); \
    }
#define OPENS_AT(name) \
    int name(int folder, const char *path, int flags, ...) \
    { \
        va_list more; \
        va_start(more, flags); \
        mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(more, mode_t) : 0; \
        va_end(more); \
        return opened(folder, path, flags, mode); \
    }
OPENS(open)
OPENS(open64)
OPENS_AT(openat)
OPENS_AT(openat64)
int __open_2(const char *path, int flags) { return opened(AT_FDCWD, path, flags, 0); }
int __open64_2(const char *path, int flags) { return opened(AT_FDCWD, path, flags, 0); }
int __openat_2(int folder, const char *path, int flags) { return opened(folder, path, flags, 0); }
int __openat64_2(int folder, const char *path, int flags) { return opened(folder, path, flags, 0); }
int creat(const char *path, mode_t mode) { return opened(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return opened(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }

/* these two open inside the C library, where nothing can come between */
DIR *opendir(const char *name)
{
    char path[PATH_MAX];
    int ok = named(AT_FDCWD, name, path);
    NEXT(opendir);
    OPERATION("open", IS_OPEN, ok, O_RDONLY | O_DIRECTORY, path, "", NULL, next(name));
}

#define FOPENS(function) \
    FILE *function(const char *name, const char *how) \
    { \
        char path[PATH_MAX]; \
        int ok = named(AT_FDCWD, name, path), makes = how[0] != 'r'; \
        int flags = makes ? O_CREAT | O_WRONLY | (how[0] == 'w' ? O_TRUNC : O_APPEND) : O_RDONLY; \
        NEXT(function); \
        OPERATION("open", IS_OPEN | (makes ? ALLOCATES : 0), ok, flags, path, "", NULL, next(name, how)); \
    }
FOPENS(fopen)
FOPENS(fopen64)

static long offset_of(int descriptor)
{
    struct stat found;
    int flags = (int)syscall(SYS_fcntl, descriptor, F_GETFL);
    if (flags >= 0 && (flags & O_APPEND) && fstat(descriptor, &found) == 0)
        return found.st_size;
    return syscall(SYS_lseek, descriptor, 0, SEEK_CUR);
}

/* All writing comes here; offset < 0: where the descriptor stands. */
static ssize_t written(int descriptor, const struct iovec *parts, int n_parts, off_t offset)
{
    char path[PATH_MAX];
    int verdict = 0, at = offset >= 0;
    long n = 0, from = offset, total = 0;
    ssize_t result;
    struct iovec half[2];
    int ok = held(descriptor, path);
    if (ok) {
        if (!at)
            from = offset_of(descriptor);
        for (int i = 0; i < n_parts; i++)
            total += parts[i].iov_len;
        n = count(IS_WRITE | ALLOCATES, &verdict);
        if (verdict == RETURN_SHORT) {
            half[0] = (struct iovec){parts[0].iov_base, n_parts > 1 ? parts[0].iov_len : parts[0].iov_len / 2};
            if (half[0].iov_len == 0 && state->mode == FULL)
                verdict = -ENOSPC;
            parts = half, n_parts = 1;
        }
        if (verdict < 0) {
            note(n, "write", verdict, from, 0, path, "", NULL, 0);
            errno = -verdict;
            return -1;
        }
    }
    if (n_parts == 1)
        result = at ? syscall(SYS_pwrite64, descriptor, parts[0].iov_base, parts[0].iov_len, offset)
                    : syscall(SYS_write, descriptor, parts[0].iov_base, parts[0].iov_len);
    else
        result = at ? syscall(SYS_pwritev, descriptor, parts, n_parts, offset, 0)
                    : syscall(SYS_writev, descriptor, parts, n_parts);
    if (ok) {
        int kept = errno;
        note(n, "write", result < 0 ? -kept : result, from, 0, path, "", parts, n_parts);
        if (verdict == RETURN_SHORT && state->mode == HALF)
            kill(getpid(), SIGKILL);
        errno = kept;
    }
    return result;
}

ssize_t write(int descriptor, const void *bytes, size_t size)
{
    struct iovec one = {(void *)bytes, size};
    return written(descriptor, &one, 1, -1);
}
ssize_t pwrite(int descriptor, const void *bytes, size_t size, off_t offset)
{
    struct iovec one = {(void *)bytes, size};
    return written(descriptor, &one, 1, offset);
}
ssize_t pwrite64(int descriptor, const void *bytes, size_t size, off_t offset)
{
    struct iovec one = {(void *)bytes, size};
    return written(descriptor, &one, 1, offset);
}
ssize_t writev(int descriptor, const struct iovec *parts, int n) { return written(descriptor, parts, n, -1); }
ssize_t pwritev(int descriptor, const struct iovec *parts, int n, off_t at) { return written(descriptor, parts, n, at); }
ssize_t pwritev64(int descriptor, const struct iovec *parts, int n, off_t at) { return written(descriptor, parts, n, at); }

/* copies inside the kernel: refused, so that who asks falls back to reading and writing, which is seen */
ssize_t sendfile(int out, int in, off_t *offset, size_t size)
{
    char path[PATH_MAX];
    NEXT(sendfile);
    if (held(out, path)) {
        errno = EINVAL;
        return -1;
    }
    return next(out, in, offset, size);
}
ssize_t sendfile64(int out, int in, off_t *offset, size_t size) { return sendfile(out, in, offset, size); }
ssize_t copy_file_range(int in, off_t *from, int out, off_t *to, size_t size, unsigned flags)
{
    char path[PATH_MAX];
    NEXT(copy_file_range);
    if (held(out, path)) {
        errno = EXDEV;
        return -1;
    }
    return next(in, from, out, to, size, flags);
}

static ssize_t taken(int descriptor, void *bytes, size_t size, off_t offset)
{
    char path[PATH_MAX];
    int verdict;
    if (state && state->with_reads && held(descriptor, path)) {
        long n = count(IS_READ, &verdict);
        note(n, "read", verdict < 0 ? verdict : (long)size, offset, 0, path, "", NULL, 0);
        if (verdict < 0) {
            errno = -verdict;
            return -1;
        }
    }
    return offset < 0 ? syscall(SYS_read, descriptor, bytes, size) : syscall(SYS_pread64, descriptor, bytes, size, offset);
}
ssize_t read(int descriptor, void *bytes, size_t size) { return taken(descriptor, bytes, size, -1); }
ssize_t pread(int descriptor, void *bytes, size_t size, off_t at) { return taken(descriptor, bytes, size, at); }
ssize_t pread64(int descriptor, void *bytes, size_t size, off_t at) { return taken(descriptor, bytes, size, at); }

static int renamed(int from_folder, const char *from, int to_folder, const char *to, unsigned flags)
{
    char path[PATH_MAX], other[PATH_MAX];
    int ok = named(from_folder, from, path), too = named(to_folder, to, other);
    OPERATION("rename", IS_NAME, ok || too, flags, path, other, -1,
              (int)syscall(SYS_renameat2, from_folder, from, to_folder, to, flags));
}
int rename(const char *from, const char *to) { return renamed(AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int a, const char *from, int b, const char *to) { return renamed(a, from, b, to, 0); }
int renameat2(int a, const char *from, int b, const char *to, unsigned flags) { return renamed(a, from, b, to, flags); }

static int linked(int from_folder, const char *from, int to_folder, const char *to, int flags)
{
    char path[PATH_MAX], other[PATH_MAX];
    int ok = named(from_folder, from, path), too = named(to_folder, to, other);
    OPERATION("link", IS_NAME | ALLOCATES, ok || too, flags, path, other, -1,
              (int)syscall(SYS_linkat, from_folder, from, to_folder, to, flags));
}
int link(const char *from, const char *to) { return linked(AT_FDCWD, from, AT_FDCWD, to, 0); }
int linkat(int a, const char *from, int b, const char *to, int flags) { return linked(a, from, b, to, flags); }

int symlinkat(const char *target, int folder, const char *name)
{
    char path[PATH_MAX];
    int ok = named(folder, name, path);
    OPERATION("symlink", IS_NAME | ALLOCATES, ok, 0, path, target, -1, (int)syscall(SYS_symlinkat, target, folder, name));
}
int symlink(const char *target, const char *name) { return symlinkat(target, AT_FDCWD, name); }

int unlinkat(int folder, const char *name, int flags)
{
    char path[PATH_MAX];
    int ok = named(folder, name, path);
    OPERATION(flags & AT_REMOVEDIR ? "rmdir" : "unlink", IS_NAME, ok, flags, path, "", -1,
              (int)syscall(SYS_unlinkat, folder, name, flags));
}
int unlink(const char *name) { return unlinkat(AT_FDCWD, name, 0); }
int rmdir(const char *name) { return unlinkat(AT_FDCWD, name, AT_REMOVEDIR); }
int remove(const char *name)
{
    int result = unlinkat(AT_FDCWD, name, 0);
    return result == -1 && errno == EISDIR ? unlinkat(AT_FDCWD, name, AT_REMOVEDIR) : result;
}

int mkdirat(int folder, const char *name, mode_t mode)
{
    char path[PATH_MAX];
    int ok = named(folder, name, path);
    OPERATION("mkdir", IS_NAME | ALLOCATES, ok, (int)mode, path, "", -1, (int)syscall(SYS_mkdirat, folder, name, mode));
}
int mkdir(const char *name, mode_t mode) { return mkdirat(AT_FDCWD, name, mode); }

int ftruncate(int descriptor, off_t size)
{
    char path[PATH_MAX];
    int ok = held(descriptor, path);
    OPERATION("truncate", IS_NAME, ok, (int)size, path, "", -1, (int)syscall(SYS_ftruncate, descriptor, size));
}
int ftruncate64(int descriptor, off_t size) { return ftruncate(descriptor, size); }

int fsync(int descriptor)
{
    char path[PATH_MAX];
    int ok = held(descriptor, path);
    OPERATION("fsync", IS_SYNC, ok, 0, path, "", -1, (int)syscall(SYS_fsync, descriptor));
}
int fdatasync(int descriptor)
{
    char path[PATH_MAX];
    int ok = held(descriptor, path);
    OPERATION("fsync", IS_SYNC, ok, 0, path, "", -1, (int)syscall(SYS_fdatasync, descriptor));
}
