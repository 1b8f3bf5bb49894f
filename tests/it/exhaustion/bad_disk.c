/* Makes calls on files of the database fail, as a bad disk does. The file that BAD_DISK names says which, in words of its own line
   each: "pwrite 5" lets pwrite fail with errno 5. An absent or empty file lets everything pass. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

static int of_database(const char *path) {
    return path && strstr(path, "ledger.db") != NULL;
}

static int is_of_database(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return of_database(path);
}

/* The errno that the call is to fail with, or 0. */
static int wanted(const char *call) {
    const char *control = getenv("BAD_DISK");
    char text[256];
    if (!control) return 0;
    int fd = syscall(SYS_openat, AT_FDCWD, control, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    ssize_t length = syscall(SYS_read, fd, text, sizeof text - 1);
    syscall(SYS_close, fd);
    if (length <= 0) return 0;
    text[length] = 0;
    const char *found = strstr(text, call);
    if (!found || found[strlen(call)] != ' ') return 0;
    return atoi(found + strlen(call) + 1);
}

#define FAIL_IF(condition, call)                     \
    do {                                             \
        int error = wanted(call);                    \
        if (error && (condition)) {                  \
            errno = error;                           \
            return -1;                               \
        }                                            \
    } while (0)

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t pwrite64(int fd, const void *from, size_t length, off64_t at) {
    FAIL_IF(is_of_database(fd), "pwrite");
    return NEXT(pwrite64)(fd, from, length, at);
}

ssize_t pwrite(int fd, const void *from, size_t length, off_t at) {
    FAIL_IF(is_of_database(fd), "pwrite");
    return NEXT(pwrite)(fd, from, length, at);
}

ssize_t pread64(int fd, void *to, size_t length, off64_t at) {
    FAIL_IF(is_of_database(fd), "pread");
    return NEXT(pread64)(fd, to, length, at);
}

ssize_t pread(int fd, void *to, size_t length, off_t at) {
    FAIL_IF(is_of_database(fd), "pread");
    return NEXT(pread)(fd, to, length, at);
}

int fsync(int fd) {
    FAIL_IF(is_of_database(fd), "fsync");
    return NEXT(fsync)(fd);
}

int fdatasync(int fd) {
    FAIL_IF(is_of_database(fd), "fsync");
    return NEXT(fdatasync)(fd);
}

static int mode_of(int flags, va_list rest) {
    return flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, int) : 0;
}

int open64(const char *path, int flags, ...) {
    FAIL_IF(of_database(path), "open");
    va_list rest;
    va_start(rest, flags);
    int mode = mode_of(flags, rest);
    va_end(rest);
    return NEXT(open64)(path, flags, mode);
}

int open(const char *path, int flags, ...) {
    FAIL_IF(of_database(path), "open");
    va_list rest;
    va_start(rest, flags);
    int mode = mode_of(flags, rest);
    va_end(rest);
    return NEXT(open)(path, flags, mode);
}
