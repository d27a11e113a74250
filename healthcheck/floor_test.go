package healthcheck

import (
	"runtime"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// floor makes probes by bare system calls, as many as are due each tick: what no prober can do without.
type floor struct {
	epoll, port int
	kept        []int // descriptors by peer; nil: a connection a probe
	ask         string
	buf         [512]byte
	events      [256]unix.EpollEvent
}

// raw is a system call that waits for nothing.
func raw(b *testing.B, nr, p1, p2, p3, p4, p5 uintptr) int {
	n, _, e := syscall.RawSyscall6(nr, p1, p2, p3, p4, p5, 0)
	if e != 0 && e != syscall.EINPROGRESS && e != syscall.EAGAIN {
		b.Fatal(nr, e)
	}
	return int(n)
}

func (f *floor) open(b *testing.B, peer int) int {
	fd := raw(b, unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0, 0)
	sa := unix.RawSockaddrInet4{Family: unix.AF_INET, Port: uint16(f.port>>8 | f.port<<8), Addr: [4]byte{127, 1, byte(peer >> 8), byte(peer)}}
	raw(b, unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&sa)), unix.SizeofSockaddrInet4, 0, 0)
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET&(1<<32-1), Fd: int32(fd)}
	raw(b, unix.SYS_EPOLL_CTL, uintptr(f.epoll), unix.EPOLL_CTL_ADD, uintptr(fd), uintptr(unsafe.Pointer(&ev)), 0)
	return fd
}

// await waits until all n descriptors have what mask says.
func (f *floor) await(b *testing.B, mask uint32, n int) {
	for n > 0 {
		got := raw(b, unix.SYS_EPOLL_PWAIT, uintptr(f.epoll), uintptr(unsafe.Pointer(&f.events)), uintptr(len(f.events)), 1000, 0)
		for _, e := range f.events[:got] {
			if e.Events&mask != 0 {
				n--
			}
		}
	}
}

// probe probes n peers from first on.
func (f *floor) probe(b *testing.B, fds []int, first, n int) {
	fds = fds[:0]
	for i := range n {
		if f.kept != nil {
			fds = append(fds, f.kept[(first+i)%len(f.kept)])
		} else {
			fds = append(fds, f.open(b, (first+i)%10000))
		}
	}
	if f.kept == nil {
		f.await(b, unix.EPOLLOUT, n)
	}
	if f.ask != "" {
		for _, fd := range fds {
			raw(b, unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.StringData(f.ask))), uintptr(len(f.ask)), unix.MSG_NOSIGNAL, 0)
		}
		f.await(b, unix.EPOLLIN, n)
		for _, fd := range fds {
			raw(b, unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&f.buf)), uintptr(len(f.buf)), 0, 0)
		}
	}
	if f.kept == nil {
		for _, fd := range fds {
			raw(b, unix.SYS_CLOSE, uintptr(fd), 0, 0, 0, 0)
		}
	}
}

// BenchmarkFloor is BenchmarkPeers by the system calls that it can't do without, and nothing else.
func BenchmarkFloor(b *testing.B) {
	const keep = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	for _, bm := range []struct {
		name, ask string
		kept      bool
	}{{"tcp", "", false}, {"http", "GET / HTTP/1.0\r\n\r\n", false}, {"kept", keep, true}} {
		b.Run(bm.name, func(b *testing.B) {
			f := &floor{port: startBackend(b), ask: bm.ask}
			var err error
			if f.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
				b.Fatal(err)
			}
			defer unix.Close(f.epoll)
			if bm.kept {
				for i := range 10000 {
					f.kept = append(f.kept, f.open(b, i))
					f.await(b, unix.EPOLLOUT, 1)
				}
			}
			defer func() {
				for _, fd := range f.kept {
					unix.Close(fd)
				}
			}()
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			fds := make([]int, 0, 10000)
			const span = 3 * time.Second
			for b.Loop() {
				cpu, start, n := processorTime(), time.Now(), 0
				for {
					past := time.Since(start)
					if past >= span {
						break
					}
					if due := int(past.Seconds()*10000) - n; due > 0 {
						due = min(due, 128)
						f.probe(b, fds, n, due)
						n += due
					}
					time.Sleep(tick)
				}
				past := time.Since(start)
				cpu = processorTime() - cpu
				b.ReportMetric(100*cpu.Seconds()/past.Seconds(), "%core")
				b.ReportMetric(float64(n)/past.Seconds(), "checks/s")
				b.ReportMetric(float64(cpu.Microseconds())/float64(n), "cpu-us/check")
			}
		})
	}
}
