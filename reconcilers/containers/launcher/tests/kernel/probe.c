/* Makes each system call that the filter is about and prints what it answers: its name, and 0 or the error's name.
 * Arguments are such that the call does nothing, or fails otherwise than with EPERM, where it is let through. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static void tell(const char *name, long result)
{
    printf("%s %s\n", name, result < 0 ? strerrorname_np(errno) : "0");
    fflush(stdout);
}

/* In a child: a call that ends the process, or makes a second one. */
static void tell_child(const char *name, void (*call)(void))
{
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        call();
        _exit(errno);
    }
    int status;
    waitpid(pid, &status, 0);
    if (WIFSIGNALED(status))
        printf("%s SIG%s\n", name, sigabbrev_np(WTERMSIG(status)));
    else
        printf("%s %s\n", name, WEXITSTATUS(status) ? strerrorname_np(WEXITSTATUS(status)) : "0");
}

static void clone_new(unsigned long flags)
{
    long pid = syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0)
        _exit(0);
    if (pid > 0)
        errno = 0;
}
static void clone_user(void) { clone_new(CLONE_NEWUSER); }
static void clone_net(void) { clone_new(CLONE_NEWNET); }
static void clone_plain(void) { clone_new(0); }
#ifdef __x86_64__
static void x32_getpid(void) { errno = syscall(0x40000000 | SYS_getpid) < 0 ? errno : 0; }
static void i386_getpid(void)
{
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(20) : "memory");
    errno = result < 0 ? -result : 0;
}
#endif

#define TELL(name, ...) errno = 0, tell(#name, syscall(SYS_##name, ##__VA_ARGS__))

/* Connects to a unix socket, says one word, and prints how that went. */
static int say(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    tell("connect", connect(fd, (struct sockaddr *)&address, sizeof address));
    tell("write", write(fd, "word", 4) == 4 ? 0 : -1);
    return 0;
}

/* Whether a lock on the file can be had. */
static int lock(const char *path)
{
    tell("flock", flock(open(path, O_RDONLY), LOCK_EX | LOCK_NB));
    return 0;
}

int main(int count, char **arguments)
{
    if (count > 2)
        return lock(arguments[2]);
    if (count > 1)
        return say(arguments[1]);
    tell_child("clone NEWUSER", clone_user);
    tell_child("clone NEWNET", clone_net);
    tell_child("clone", clone_plain);
#ifdef __x86_64__
    tell_child("x32 getpid", x32_getpid);
    tell_child("i386 getpid", i386_getpid);
#endif
    TELL(kexec_load, 0, 0, 0, 0);
    TELL(init_module, 0, 0, "");
    TELL(finit_module, -1, "", 0);
    TELL(delete_module, "none", 0);
    TELL(bpf, -1, 0, 0);
    TELL(perf_event_open, 0, -1, -1, -1, 0);
    TELL(userfaultfd, -1);
    TELL(io_uring_setup, 1, 0);
    TELL(add_key, "user", "name", "key", 3, -1);
    TELL(request_key, "user", "name", 0, 0);
    TELL(keyctl, -1);
    TELL(mount, "", "/tmp", "", 0, 0);
    TELL(umount2, "/tmp", -1);
    TELL(move_mount, -1, "", -1, "", -1);
    TELL(open_tree, -1, "", -1);
    TELL(fsopen, "", -1);
    TELL(mount_setattr, -1, "", -1, 0, 0);
    TELL(pivot_root, "", "");
    TELL(setns, -1, 0);
    TELL(unshare, CLONE_NEWUSER);
    TELL(unshare, CLONE_NEWNS);
    TELL(unshare, 0x80);
    TELL(unshare, CLONE_FS);
    TELL(clone3, 0, 0);
    TELL(open_by_handle_at, -1, 0, 0);
    TELL(ptrace, -1, 0, 0, 0);
    TELL(process_vm_readv, -1, 0, 0, 0, 0, -1);
    TELL(pidfd_getfd, -1, -1, -1);
    TELL(reboot, 0, 0, 0, 0);
    TELL(swapon, "", 0);
    TELL(acct, "");
    TELL(syslog, 10, 0, 0);
    TELL(settimeofday, 0, 0);
    TELL(clock_settime, -1, 0);
    TELL(quotactl, -1, 0, 0, 0);
    TELL(personality, 0xffffffff);
    TELL(personality, 0x0040000);
    TELL(personality, 0x0000008);
    TELL(ioctl, 0, TIOCSTI, "");
    TELL(ioctl, 0, TIOCNXCL, 0);
    TELL(socket, AF_UNIX, SOCK_STREAM, 0);
    TELL(socket, AF_INET6, SOCK_STREAM, 0);
    TELL(socket, AF_NETLINK, SOCK_RAW, 0);
    TELL(socket, AF_VSOCK, SOCK_STREAM, 0);
    TELL(socket, AF_ALG, SOCK_SEQPACKET, 0);
    TELL(getpid);
    return 0;
}
