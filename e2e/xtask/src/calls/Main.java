import java.io.*;
import java.lang.management.*;
import java.net.*;
import java.net.http.*;
import java.nio.*;
import java.nio.channels.*;
import java.nio.file.*;
import java.nio.file.attribute.*;
import java.security.*;
import java.util.*;
import java.util.concurrent.*;

public class Main {
    static byte[][] kept = new byte[64][];

    public static void main(String[] arguments) throws Exception {
        if (arguments.length > 0) {
            Thread.sleep(60_000);
        }
        threads();
        sockets();
        files();
        Process child = new ProcessBuilder("cat").start();
        child.getOutputStream().close();
        child.waitFor();
        child.toHandle().info();
        new SecureRandom().nextBytes(new byte[16]);
        MessageDigest.getInstance("SHA-256").digest(new byte[100_000]);
        ManagementFactory.getOperatingSystemMXBean().getSystemLoadAverage();
        ManagementFactory.getThreadMXBean().dumpAllThreads(true, true);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> { }));
        System.gc();
        System.exit(0);
    }

    static void threads() throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(8);
        List<Future<Integer>> results = new ArrayList<>();
        for (int task = 0; task < 64; task++) {
            int seed = task;
            results.add(pool.submit(() -> {
                for (int round = 0; round < 200; round++) {
                    kept[(seed + round) % kept.length] = new byte[100_000];
                }
                Thread.sleep(1);
                return seed;
            }));
        }
        for (Future<Integer> result : results) {
            result.get();
        }
        Thread priority = new Thread(Thread::yield);
        priority.setPriority(Thread.MAX_PRIORITY);
        priority.start();
        priority.join();
        pool.shutdown();
        ForkJoinPool.commonPool().submit(() -> 1).get();
    }

    static void sockets() throws Exception {
        for (NetworkInterface each : Collections.list(NetworkInterface.getNetworkInterfaces())) {
            each.isUp();
            each.getMTU();
            each.getHardwareAddress();
            each.getInterfaceAddresses();
        }
        InetAddress.getByName("localhost").isReachable(100);
        try {
            InetAddress.getByName("example.test");
        } catch (UnknownHostException expected) {
        }
        try (ServerSocket server = new ServerSocket(0)) {
            Thread thread = new Thread(() -> {
                try (Socket socket = server.accept()) {
                    socket.setTcpNoDelay(true);
                    socket.setSoLinger(true, 1);
                    socket.setKeepAlive(true);
                    socket.getOutputStream().write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".getBytes());
                    socket.getInputStream().readAllBytes();
                } catch (IOException ignored) {
                }
            });
            thread.start();
            URI uri = URI.create("http://localhost:" + server.getLocalPort());
            try (Socket socket = new Socket("localhost", server.getLocalPort())) {
                socket.setSoTimeout(1000);
                socket.getInputStream().read();
            }
            thread.join();
        }
        try (Selector selector = Selector.open(); DatagramChannel datagrams = DatagramChannel.open()) {
            datagrams.bind(new InetSocketAddress("localhost", 0));
            datagrams.configureBlocking(false);
            datagrams.register(selector, SelectionKey.OP_READ);
            datagrams.send(ByteBuffer.wrap(new byte[10]), datagrams.getLocalAddress());
            selector.select(1000);
        }
        Path path = Path.of("/tmp/java.sock");
        Files.deleteIfExists(path);
        try (ServerSocketChannel server = ServerSocketChannel.open(StandardProtocolFamily.UNIX)) {
            server.bind(UnixDomainSocketAddress.of(path));
            SocketChannel.open(UnixDomainSocketAddress.of(path)).close();
        }
        try (MulticastSocket multicast = new MulticastSocket(0)) {
            multicast.setTimeToLive(1);
            try {
                multicast.joinGroup(new InetSocketAddress("224.0.0.251", 0), NetworkInterface.getByName("lo"));
            } catch (IOException none) {
            }
        }
        HttpClient client = HttpClient.newBuilder().connectTimeout(java.time.Duration.ofSeconds(1)).build();
        try {
            client.send(HttpRequest.newBuilder(URI.create("http://localhost:1/")).build(), HttpResponse.BodyHandlers.ofString());
        } catch (IOException refused) {
        }
    }

    static void files() throws Exception {
        Path folder = Files.createTempDirectory("calls");
        WatchService watcher = folder.getFileSystem().newWatchService();
        folder.register(watcher, StandardWatchEventKinds.ENTRY_CREATE);
        Path file = folder.resolve("file");
        Files.write(file, new byte[100_000]);
        watcher.poll(1, TimeUnit.SECONDS);
        try (FileChannel channel = FileChannel.open(file, StandardOpenOption.READ, StandardOpenOption.WRITE)) {
            MappedByteBuffer memory = channel.map(FileChannel.MapMode.READ_WRITE, 0, 4096);
            memory.put(0, (byte) 1);
            memory.force();
            channel.force(true);
            channel.force(false);
            channel.lock().release();
            channel.truncate(5000);
            try (FileChannel target = FileChannel.open(folder.resolve("copy"), StandardOpenOption.CREATE, StandardOpenOption.WRITE)) {
                channel.transferTo(0, 5000, target);
            }
        }
        try (RandomAccessFile random = new RandomAccessFile(file.toFile(), "rwd")) {
            random.setLength(100);
            random.write(1);
        }
        Files.copy(file, folder.resolve("second"), StandardCopyOption.COPY_ATTRIBUTES);
        Files.move(file, folder.resolve("moved"), StandardCopyOption.ATOMIC_MOVE);
        Files.createSymbolicLink(folder.resolve("link"), Path.of("moved"));
        Files.createLink(folder.resolve("hard"), folder.resolve("moved"));
        Files.setPosixFilePermissions(folder.resolve("moved"), PosixFilePermissions.fromString("rw-------"));
        Files.getFileStore(folder).getUsableSpace();
        Files.walk(folder).toList();
        try {
            Files.setAttribute(folder.resolve("moved"), "user:name", ByteBuffer.wrap(new byte[1]));
        } catch (IOException | UnsupportedOperationException none) {
        }
    }
}
