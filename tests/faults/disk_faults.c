// A disk that refuses, or a process that dies, at one chosen operation.
//
// Preloaded (LD_PRELOAD) before a program's own C library, it counts what changes files under one
// folder: opening for writing, writing, syncing, renaming, making folders, removing.  At the chosen
// operation it answers with an error, from then on or that once, or kills the process, half of the
// bytes of a write having been written.  Python arms and reads it by ctypes.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { kDie = -1 };

static char folder[PATH_MAX];
static size_t folder_length;
static atomic_long count;
static long chosen = -1;
static int answer;  // an errno, or kDie
static int lasting;
static int removing_counts;

void disk_faults_arm(const char* path, long n, int how, int from_then_on, int removals) {
  folder_length = strlen(path);
  memcpy(folder, path, folder_length + 1);
  count = 0;
  chosen = n;
  answer = how;
  lasting = from_then_on;
  removing_counts = removals;
}

long disk_faults_count(void) { return count; }

static int below_folder(const char* path) {
  return strncmp(path, folder, folder_length) == 0 &&
         (path[folder_length] == '/' || path[folder_length] == 0);
}

static int is_watched_fd(int fd, const char* name) {
  char link[64], path[PATH_MAX];
  if (name != NULL && name[0] == '/') return below_folder(name);
  if (fd == AT_FDCWD) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const ssize_t n = readlink(link, path, sizeof path - 1);
  if (n < 0) return 0;
  path[n] = 0;
  return below_folder(path);
}

// Whether the operation is to be refused; kills where that was asked for.
static int refused(int is_watched) {
  if (folder_length == 0 || !is_watched) return 0;
  const long now = atomic_fetch_add(&count, 1);
  if (chosen < 0 || !(now == chosen || (lasting && now > chosen))) return 0;
  if (answer == kDie) return 1;
  errno = answer;
  return 1;
}

static void die(void) {
  kill(getpid(), SIGKILL);
  for (;;) pause();
}

#define REAL(type, name, ...)                               \
  static type (*real)(__VA_ARGS__);                         \
  if (real == NULL) real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

#define REFUSE(is_watched)        \
  if (refused(is_watched)) {      \
    if (answer == kDie) die();    \
    return -1;                    \
  }

#define OPEN_LIKE(name)                                     \
  int name(const char* path, int flags, ...) {              \
    mode_t mode = 0;                                        \
    if (flags & (O_CREAT | O_TMPFILE)) {                    \
      va_list rest;                                         \
      va_start(rest, flags);                                \
      mode = va_arg(rest, mode_t);                          \
      va_end(rest);                                         \
    }                                                       \
    REAL(int, #name, const char*, int, ...);                \
    if ((flags & O_ACCMODE) != O_RDONLY) REFUSE(is_watched_fd(AT_FDCWD, path)) \
    return real(path, flags, mode);                         \
  }
OPEN_LIKE(open)
OPEN_LIKE(open64)

#define OPENAT_LIKE(name)                                   \
  int name(int at, const char* path, int flags, ...) {      \
    mode_t mode = 0;                                        \
    if (flags & (O_CREAT | O_TMPFILE)) {                    \
      va_list rest;                                         \
      va_start(rest, flags);                                \
      mode = va_arg(rest, mode_t);                          \
      va_end(rest);                                         \
    }                                                       \
    REAL(int, #name, int, const char*, int, ...);           \
    if ((flags & O_ACCMODE) != O_RDONLY) REFUSE(is_watched_fd(at, path)) \
    return real(at, path, flags, mode);                     \
  }
OPENAT_LIKE(openat)
OPENAT_LIKE(openat64)

ssize_t write(int fd, const void* data, size_t n) {
  REAL(ssize_t, "write", int, const void*, size_t);
  if (folder_length != 0 && refused(is_watched_fd(fd, NULL))) {
    // A disk that is full, or a process that dies, has often taken the first half.
    if (n > 1) real(fd, data, n / 2);
    if (answer == kDie) die();
    errno = answer;
    return -1;
  }
  return real(fd, data, n);
}

#define PWRITE_LIKE(name, offset_type)                                    \
  ssize_t name(int fd, const void* data, size_t n, offset_type offset) {  \
    REAL(ssize_t, #name, int, const void*, size_t, offset_type);          \
    REFUSE(is_watched_fd(fd, NULL))                                       \
    return real(fd, data, n, offset);                                     \
  }
PWRITE_LIKE(pwrite, off_t)
PWRITE_LIKE(pwrite64, off64_t)

ssize_t writev(int fd, const struct iovec* parts, int n) {
  REAL(ssize_t, "writev", int, const struct iovec*, int);
  REFUSE(is_watched_fd(fd, NULL))
  return real(fd, parts, n);
}

// NumPy writes through a FILE, whose own write is not called by name.
size_t fwrite(const void* data, size_t size, size_t n, FILE* file) {
  REAL(size_t, "fwrite", const void*, size_t, size_t, FILE*);
  if (folder_length != 0 && refused(is_watched_fd(fileno(file), NULL))) {
    real(data, size, n / 2, file);
    fflush(file);
    if (answer == kDie) die();
    errno = answer;
    return n / 2;
  }
  return real(data, size, n, file);
}

#define COPY_LIKE(name, offset_type)                                    \
  ssize_t name(int out, int in, offset_type* offset, size_t n) {        \
    REAL(ssize_t, #name, int, int, offset_type*, size_t);               \
    REFUSE(is_watched_fd(out, NULL))                                    \
    return real(out, in, offset, n);                                    \
  }
COPY_LIKE(sendfile, off_t)
COPY_LIKE(sendfile64, off64_t)

ssize_t copy_file_range(int in, off64_t* in_offset, int out, off64_t* out_offset, size_t n,
                        unsigned flags) {
  REAL(ssize_t, "copy_file_range", int, off64_t*, int, off64_t*, size_t, unsigned);
  REFUSE(is_watched_fd(out, NULL))
  return real(in, in_offset, out, out_offset, n, flags);
}

#define SYNC_LIKE(name)                 \
  int name(int fd) {                    \
    REAL(int, #name, int);              \
    REFUSE(is_watched_fd(fd, NULL))     \
    return real(fd);                    \
  }
SYNC_LIKE(fsync)
SYNC_LIKE(fdatasync)

#define TRUNCATE_LIKE(name, offset_type)  \
  int name(int fd, offset_type n) {       \
    REAL(int, #name, int, offset_type);   \
    REFUSE(is_watched_fd(fd, NULL))       \
    return real(fd, n);                   \
  }
TRUNCATE_LIKE(ftruncate, off_t)
TRUNCATE_LIKE(ftruncate64, off64_t)

int rename(const char* from, const char* to) {
  REAL(int, "rename", const char*, const char*);
  REFUSE(is_watched_fd(AT_FDCWD, to))
  return real(from, to);
}

int renameat(int from_at, const char* from, int to_at, const char* to) {
  REAL(int, "renameat", int, const char*, int, const char*);
  REFUSE(is_watched_fd(to_at, to))
  return real(from_at, from, to_at, to);
}

int mkdir(const char* path, mode_t mode) {
  REAL(int, "mkdir", const char*, mode_t);
  REFUSE(is_watched_fd(AT_FDCWD, path))
  return real(path, mode);
}

int mkdirat(int at, const char* path, mode_t mode) {
  REAL(int, "mkdirat", int, const char*, mode_t);
  REFUSE(is_watched_fd(at, path))
  return real(at, path, mode);
}

#define REMOVE_LIKE(name)                                                        \
  int name(const char* path) {                                                   \
    REAL(int, #name, const char*);                                               \
    if (removing_counts) REFUSE(is_watched_fd(AT_FDCWD, path))                   \
    return real(path);                                                           \
  }
REMOVE_LIKE(unlink)
REMOVE_LIKE(rmdir)

int unlinkat(int at, const char* path, int flags) {
  REAL(int, "unlinkat", int, const char*, int);
  if (removing_counts) REFUSE(is_watched_fd(at, path))
  return real(at, path, flags);
}
