package main

import (
	"bufio"
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"os/user"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"sync"
	"syscall"
	"time"
)

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func main() {
	profile := must(os.CreateTemp("", "profile"))
	pprof.StartCPUProfile(profile)
	var group sync.WaitGroup
	for i := 0; i < 64; i++ {
		group.Add(1)
		go func() {
			defer group.Done()
			runtime.LockOSThread()
			_ = make([]byte, 1<<20)
			time.Sleep(time.Millisecond)
			runtime.Gosched()
		}()
	}
	group.Wait()
	sockets()
	files()
	must(exec.Command("sh", "-c", "echo hello | cat").Output())
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	exec.CommandContext(ctx, "sleep", "10").Run()
	cancel()
	command := exec.Command("true")
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL, Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	command.Run()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1)
	syscall.Kill(os.Getpid(), syscall.SIGUSR1)
	<-signals
	user.Current()
	os.Hostname()
	pprof.StopCPUProfile()
	runtime.GC()
	debug.FreeOSMemory()
}

func sockets() {
	for _, each := range must(net.Interfaces()) {
		must(each.Addrs())
	}
	listener := must(net.Listen("tcp", "localhost:0"))
	go http.Serve(listener, http.FileServer(http.Dir("/usr/share/common-licenses")))
	answer := must(http.Get("http://" + listener.Addr().String() + "/GPL-3"))
	io.Copy(io.Discard, answer.Body)
	local := must(net.Listen("unix", filepath.Join(must(os.MkdirTemp("", "calls")), "socket")))
	go func() {
		connection := must(local.Accept())
		io.Copy(connection, connection)
	}()
	connection := must(net.Dial("unix", local.Addr().String()))
	connection.Write([]byte("hello\n"))
	bufio.NewReader(connection).ReadString('\n')
	datagrams := must(net.ListenPacket("udp", "localhost:0"))
	datagrams.WriteTo([]byte("x"), datagrams.LocalAddr())
	datagrams.ReadFrom(make([]byte, 10))
	net.LookupHost("example.test")
	net.ListenMulticastUDP("udp4", nil, &net.UDPAddr{IP: net.IPv4(224, 0, 0, 251), Port: 5353})
}

func files() {
	folder := must(os.MkdirTemp("", "calls"))
	path := filepath.Join(folder, "file")
	os.WriteFile(path, make([]byte, 100000), 0o600)
	file := must(os.OpenFile(path, os.O_RDWR, 0))
	file.Sync()
	file.Truncate(1000)
	copied := must(os.Create(path + ".copy"))
	io.Copy(copied, file)
	os.Rename(path+".copy", path+".renamed")
	os.Symlink("file", path+".symbolic")
	os.Link(path, path+".link")
	os.Chtimes(path, time.Now(), time.Now())
	os.Chown(path, 1, 1)
	must(os.ReadDir(folder))
	os.RemoveAll(folder)
}
