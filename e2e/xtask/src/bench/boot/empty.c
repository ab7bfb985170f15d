/* The init that does nothing: opens the console, says that it is there, and waits for the power to be cut. */
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

int main(void)
{
    int console;

    mknod("/console", S_IFCHR | 0600, makedev(5, 1));
    console = open("/console", O_WRONLY);
    write(console, "empty: up\n", 10);
    for (;;)
        pause();
}
