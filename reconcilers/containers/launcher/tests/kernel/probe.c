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

static void report(const char *name, long result)
{
    printf("%s %s\n", name, result < 0 ? strerrorname_np(errno) : "0");
    fflush(stdout);
}

/* In a child: a call that ends the process, or makes a second one. */
static void report_child(const char *name, void (*call)(void))
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

#define REPORT(name, ...) errno = 0, report(#name, syscall(SYS_##name, ##__VA_ARGS__))

/* Connects to a unix socket, says one word, and prints how that went. */
static int say(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    report("connect", connect(fd, (struct sockaddr *)&address, sizeof address));
    report("write", write(fd, "word", 4) == 4 ? 0 : -1);
    return 0;
}

/* Whether a lock on the file can be had. */
static int lock(const char *path)
{
    report("flock", flock(open(path, O_RDONLY), LOCK_EX | LOCK_NB));
    return 0;
}

int main(int count, char **arguments)
{
    if (count > 2)
        return lock(arguments[2]);
    if (count > 1)
        return say(arguments[1]);
    report_child("clone NEWUSER", clone_user);
    report_child("clone NEWNET", clone_net);
    report_child("clone", clone_plain);
#ifdef __x86_64__
    report_child("x32 getpid", x32_getpid);
    report_child("i386 getpid", i386_getpid);
#endif
    REPORT(kexec_load, 0, 0, 0, 0);
    REPORT(init_module, 0, 0, "");
    REPORT(finit_module, -1, "", 0);
    REPORT(delete_module, "none", 0);
    REPORT(bpf, -1, 0, 0);
    REPORT(perf_event_open, 0, -1, -1, -1, 0);
    REPORT(userfaultfd, -1);
    REPORT(io_uring_setup, 1, 0);
    REPORT(add_key, "user", "name", "key", 3, -1);
    REPORT(request_key, "user", "name", 0, 0);
    REPORT(keyctl, -1);
    REPORT(mount, "", "/tmp", "", 0, 0);
    REPORT(umount2, "/tmp", -1);
    REPORT(move_mount, -1, "", -1, "", -1);
    REPORT(open_tree, -1, "", -1);
    REPORT(fsopen, "", -1);
    REPORT(mount_setattr, -1, "", -1, 0, 0);
    REPORT(pivot_root, "", "");
    REPORT(setns, -1, 0);
    REPORT(unshare, CLONE_NEWUSER);
    REPORT(unshare, CLONE_NEWNS);
    REPORT(unshare, 0x80);
    REPORT(unshare, CLONE_FS);
    REPORT(clone3, 0, 0);
    REPORT(open_by_handle_at, -1, 0, 0);
    REPORT(ptrace, -1, 0, 0, 0);
    REPORT(process_vm_readv, -1, 0, 0, 0, 0, -1);
    REPORT(pidfd_getfd, -1, -1, -1);
    REPORT(reboot, 0, 0, 0, 0);
    REPORT(swapon, "", 0);
    REPORT(acct, "");
    REPORT(syslog, 10, 0, 0);
    REPORT(settimeofday, 0, 0);
    REPORT(clock_settime, -1, 0);
    REPORT(quotactl, -1, 0, 0, 0);
    REPORT(personality, 0xffffffff);
    REPORT(personality, 0x0040000);
    REPORT(personality, 0x0000008);
    REPORT(ioctl, 0, TIOCSTI, "");
    REPORT(ioctl, 0, TIOCNXCL, 0);
    REPORT(socket, AF_UNIX, SOCK_STREAM, 0);
    REPORT(socket, AF_INET6, SOCK_STREAM, 0);
    REPORT(socket, AF_NETLINK, SOCK_RAW, 0);
    REPORT(socket, AF_VSOCK, SOCK_STREAM, 0);
    REPORT(socket, AF_ALG, SOCK_SEQPACKET, 0);
    REPORT(getpid);
    return 0;
}
