const cluster = require("cluster"), crypto = require("crypto"), dgram = require("dgram"), dns = require("dns");
const fs = require("fs"), http = require("http"), net = require("net"), os = require("os"), path = require("path");
const { execSync, fork, spawn } = require("child_process"), { once } = require("events"), { promisify } = require("util");
const { Worker, isMainThread, parentPort } = require("worker_threads"), zlib = require("zlib");

async function servers() {
  const server = http.createServer((request, response) => response.end("hello")).listen(0, "localhost");
  await once(server, "listening");
  await new Promise((done) => http.get({ port: server.address().port, host: "localhost" }, (r) => r.resume().on("end", done)));
  server.close();
  const local = net.createServer((socket) => socket.pipe(socket)).listen("/tmp/node.sock");
  await once(local, "listening");
  const client = net.connect("/tmp/node.sock");
  client.write("hello");
  await once(client, "data");
  client.end();
  local.close();
  const one = dgram.createSocket("udp4"), two = dgram.createSocket({ type: "udp6", reuseAddr: true });
  await new Promise((done) => one.bind(0, "127.0.0.1", done));
  one.send("hello", one.address().port, "127.0.0.1");
  await once(one, "message");
  one.setBroadcast(true);
  one.close();
  two.close();
  await promisify(dns.lookup)("localhost");
  await dns.promises.resolve4("example.test").catch(() => {});
}

async function files() {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "calls-")), file = path.join(folder, "file");
  const watcher = fs.watch(folder);
  fs.watchFile(file, () => {});
  await fs.promises.writeFile(file, crypto.randomBytes(100000));
  const handle = await fs.promises.open(file, "r+");
  await handle.sync();
  await handle.datasync();
  await handle.truncate(1000);
  await handle.readv([Buffer.alloc(10)]);
  await handle.utimes(0, 0);
  await handle.close();
  await fs.promises.copyFile(file, file + ".copy");
  await fs.promises.copyFile(file, file + ".clone", fs.constants.COPYFILE_FICLONE);
  await fs.promises.rename(file + ".copy", file + ".renamed");
  await fs.promises.link(file, file + ".link");
  await fs.promises.symlink("file", file + ".symbolic");
  await fs.promises.lutimes(file + ".symbolic", 0, 0);
  await fs.promises.chown(file, 1, 1);
  await fs.promises.access(file);
  await fs.promises.readdir(folder);
  if (fs.promises.statfs) await fs.promises.statfs(folder);
  await new Promise((done) => fs.createReadStream(file).pipe(fs.createWriteStream(file + ".2")).on("close", done));
  watcher.close();
  fs.unwatchFile(file);
  fs.rmSync(folder, { recursive: true });
}

async function processes() {
  const worker = new Worker(__filename);
  worker.postMessage("hello");
  await once(worker, "message");
  await worker.terminate();
  const child = spawn("cat", { detached: true, stdio: "pipe" });
  child.stdin.end("hello");
  await once(child, "close");
  await once(spawn("true", { uid: 65534, gid: 65534 }), "close");
  execSync("echo hello | cat");
  const forked = fork(__filename, ["child"]);
  await once(forked, "exit");
  cluster.setupPrimary({ exec: __filename, args: ["cluster"] });
  cluster.fork();
  const [member] = await once(cluster, "listening");
  member.kill();
  await once(cluster, "exit");
}

async function main() {
  await servers();
  await files();
  await processes();
  await promisify(crypto.scrypt)("x", "y", 64);
  await promisify(crypto.generateKeyPair)("ec", { namedCurve: "P-256" });
  await promisify(zlib.gzip)(Buffer.alloc(100000));
  os.networkInterfaces(), os.cpus(), os.loadavg(), os.freemem(), os.uptime(), os.userInfo(), os.version(), os.hostname();
  os.setPriority(0, os.getPriority(0) + 1);
  process.title = "calls";
  process.resourceUsage(), process.memoryUsage(), process.umask();
  process.once("SIGUSR2", () => {});
  process.kill(process.pid, "SIGUSR2");
  new SharedArrayBuffer(1 << 20);
  await WebAssembly.instantiate(Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0));
  process.setgroups([]), process.setgid("nogroup"), process.setuid("nobody");
  gc();
  console.log("done");
}

if (!isMainThread) parentPort.once("message", (message) => parentPort.postMessage(message));
else if (process.argv[2] === "cluster") http.createServer().listen(0);
else if (process.argv[2] !== "child") main().catch((error) => { console.error(error); process.exit(1); });
