package demo

import (
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// backend is a small server that can be told to fail.
type backend struct {
	number  int
	addr    string
	failing atomic.Bool
	http    http.Server
	done    chan struct{}
}

// startBackend starts a backend on a free port.
func startBackend(number int) (*backend, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	b := &backend{number: number, addr: ln.Addr().String(), done: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("/", b.answer)
	mux.HandleFunc("POST /fail", b.set(true))
	mux.HandleFunc("POST /ok", b.set(false))
	b.http = http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		defer close(b.done)
		b.http.Serve(ln)
	}()
	return b, nil
}

func (b *backend) close() {
	b.http.Close()
	<-b.done
}

func (b *backend) answer(w http.ResponseWriter, r *http.Request) {
	if b.failing.Load() {
		http.Error(w, fmt.Sprintf("backend %d fails", b.number), http.StatusInternalServerError)
		return
	}
	fmt.Fprintf(w, "backend %d says hello\n", b.number)
}

func (b *backend) set(failing bool) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		b.failing.Store(failing)
		fmt.Fprintf(w, "backend %d %s\n", b.number, map[bool]string{true: "fails from now on", false: "is well again"}[failing])
	}
}

// cookie is the value that the seed's balancer gives to the backend's clients.
func (b *backend) cookie() string {
	sum := md5.Sum([]byte(b.addr))
	return hex.EncodeToString(sum[:])
}
