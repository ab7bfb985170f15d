import asyncio, concurrent.futures, ctypes, errno, fcntl, glob, hashlib, http.server, logging.handlers, mmap, multiprocessing
import os, platform, pty, resource, secrets, select, shutil, signal, socket, sqlite3, ssl, subprocess, sys, tempfile, threading
import time, urllib.request, uuid
from multiprocessing import shared_memory


def tried(function, *arguments):
    try:
        return function(*arguments)
    except OSError as error:
        print(f"{function.__name__}: {errno.errorcode.get(error.errno, error)}", file=sys.stderr)


def square(number):
    return number * number


async def loops():
    async def answer(reader, writer):
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "localhost", 0)
    reader, writer = await asyncio.open_connection("localhost", server.sockets[0].getsockname()[1])
    writer.write(b"hello\n")
    assert await reader.readline() == b"hello\n"
    writer.close()
    server.close()
    child = await asyncio.create_subprocess_exec("cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    await child.communicate(b"hello")
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, lambda: None)
    os.kill(os.getpid(), signal.SIGUSR1)
    await asyncio.to_thread(time.sleep, 0.01)
    await asyncio.sleep(0.01)


def processes():
    for method in ["fork", "spawn", "forkserver"]:
        context = multiprocessing.get_context(method)
        with context.Pool(2) as pool:
            assert pool.map(square, range(10)) == [n * n for n in range(10)]
        queue, lock = context.Queue(), context.Lock()
        with lock:
            queue.put(1)
            queue.get()
    with concurrent.futures.ProcessPoolExecutor(2) as executor:
        list(executor.map(square, range(4)))
    memory = shared_memory.SharedMemory(create=True, size=4096)
    memory.close()
    memory.unlink()
    subprocess.run(["true"], check=True, start_new_session=True, cwd="/", timeout=20)
    subprocess.run("echo hello | cat", shell=True, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["true"], check=True, user="nobody", group="nogroup", extra_groups=[], umask=0o22, close_fds=False)
    os.waitpid(os.posix_spawn("/bin/true", ["true"], os.environ), 0)
    pty.spawn(["true"])
    child = os.fork()
    if child == 0:
        os._exit(0)
    poll = select.poll()
    descriptor = tried(os.pidfd_open, child)
    if descriptor is not None:
        poll.register(descriptor)
        poll.poll(1000)
    os.waitid(os.P_PID, child, os.WEXITED)


def files(folder):
    path = os.path.join(folder, "file")
    with open(path, "wb") as file:
        file.write(secrets.token_bytes(100_000))
        file.flush()
        os.fsync(file.fileno())
        os.fdatasync(file.fileno())
        os.posix_fallocate(file.fileno(), 0, 200_000)
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        fcntl.flock(file, fcntl.LOCK_EX)
        fcntl.lockf(file, fcntl.LOCK_EX)
        os.truncate(path, 100)
    shutil.copy2(path, path + ".copy")
    with open(path, "rb") as source, open(path + ".2", "wb") as target:
        tried(os.copy_file_range, source.fileno(), target.fileno(), 100)
        os.sendfile(target.fileno(), source.fileno(), 0, 100)
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        memory.madvise(mmap.MADV_WILLNEED)
        memory.flush()
        memory.resize(200)
    os.link(path, path + ".link")
    os.symlink("file", path + ".symbolic")
    os.readlink(path + ".symbolic")
    os.rename(path + ".link", path + ".renamed")
    os.mkfifo(path + ".fifo")
    os.utime(path, (0, 0))
    os.chmod(path, 0o600)
    os.chown(path, 1, 1)
    tried(os.setxattr, path, "user.name", b"value")
    tried(os.listxattr, path)
    os.statvfs(path)
    os.access(path, os.R_OK)
    os.scandir(folder).close()
    glob.glob(folder + "/**", recursive=True)
    tempfile.TemporaryFile().close()
    os.memfd_create("memory")
    os.eventfd(0)
    os.pread(os.open(path, os.O_RDONLY), 10, 0)
    os.sync()


def sockets():
    for family in [socket.AF_INET, socket.AF_INET6, socket.AF_UNIX]:
        tried(socket.socket, family, socket.SOCK_DGRAM)
    for family, kind, protocol in [
        (socket.AF_NETLINK, socket.SOCK_RAW, 0),
        (socket.AF_PACKET, socket.SOCK_RAW, 0),
        (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
    ]:
        tried(socket.socket, family, kind, protocol)
    socket.getaddrinfo("localhost", 80)
    tried(socket.gethostbyname, "example.test")
    socket.if_nameindex()
    first, second = socket.socketpair()
    socket.send_fds(first, [b"x"], [0])
    socket.recv_fds(second, 1, 1)
    first.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    second.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    server = http.server.ThreadingHTTPServer(("localhost", 0), http.server.SimpleHTTPRequestHandler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain("/calls/chain", "/calls/key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    client = ssl.create_default_context(cafile="/calls/chain")
    client.check_hostname = False
    urllib.request.urlopen(f"https://localhost:{server.server_port}/", context=client).read()
    server.shutdown()
    with select.epoll() as epoll:
        epoll.poll(0.01)
    select.select([], [], [], 0.01)


def rest():
    database = sqlite3.connect("database")
    database.execute("pragma journal_mode = wal")
    database.execute("create table t (a)")
    database.executemany("insert into t values (?)", [(n,) for n in range(1000)])
    database.commit()
    database.execute("vacuum")
    database.close()
    threads = [threading.Thread(target=hashlib.scrypt, args=(b"x",), kwargs=dict(salt=b"y", n=2, r=8, p=1)) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join(10) for thread in threads]
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    signal.pause()
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    os.kill(os.getpid(), signal.SIGUSR2)
    signal.sigtimedwait([signal.SIGUSR2], 1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.getrusage(resource.RUSAGE_SELF)
    os.sched_setaffinity(0, os.sched_getaffinity(0))
    tried(os.sched_setscheduler, 0, os.SCHED_BATCH, os.sched_param(0))
    os.nice(1)
    os.getloadavg(), os.times(), platform.uname(), uuid.uuid1()
    os.getgroups(), os.getresuid(), os.getsid(0), os.getpriority(os.PRIO_PROCESS, 0)
    ctypes.CDLL(None).getpid()
    handler = logging.handlers.SysLogHandler("/dev/log") if os.path.exists("/dev/log") else logging.handlers.SysLogHandler()
    handler.emit(logging.makeLogRecord({"msg": "hello"}))


if __name__ == "__main__":
    asyncio.run(loops())
    processes()
    with tempfile.TemporaryDirectory() as folder:
        files(folder)
    sockets()
    rest()
