/* Preloaded into a process: while the file named by FAILING_DISK exists, every fsync fails, or with the content "full" every write.
   Writes to standard output and error pass. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

/* 0 no fault, 's' syncs fail, 'f' the disk is full */
static int fault(void) {
    const char *flag = getenv("FAILING_DISK");
    char first = 's';
    int saved = errno, file;
    if (flag == NULL || (file = open(flag, O_RDONLY)) < 0) {
        errno = saved;
        return 0;
    }
    if (read(file, &first, 1) < 1) first = 's';
    close(file);
    errno = saved;
    return first;
}

static int sync_with(const char *name, int file) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    if (fault() == 's') {
        errno = EIO;
        return -1;
    }
    return real(file);
}

int fsync(int file) { return sync_with("fsync", file); }
int fdatasync(int file) { return sync_with("fdatasync", file); }

static ssize_t write_with(const char *name, int file, const void *from, size_t count, off_t at) {
    ssize_t (*real)(int, const void *, size_t, off_t) =
        (ssize_t(*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, name);
    if (file > 2 && fault() == 'f') {
        errno = ENOSPC;
        return -1;
    }
    return real(file, from, count, at);
}

ssize_t pwrite(int file, const void *from, size_t count, off_t at) { return write_with("pwrite", file, from, count, at); }
ssize_t pwrite64(int file, const void *from, size_t count, off_t at) {
    return write_with("pwrite64", file, from, count, at);
}
