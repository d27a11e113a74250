package relay

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"limpet/internal/errlog"
	"limpet/internal/ngx"
	"limpet/internal/tcp"
)

// upgrade answers with 101 and joins the two connections until one of them ends.
func (x *Exchange) upgrade() ngx.Outcome {
	r := x.R
	switch {
	case !r.IsMain() || r.Client.HTTP2: // HTTP/2 has no 101: RFC 9113, section 8.6
		r.Errorf("upstream sent unexpected 101 while %s", WhileHead)
		x.close()
		x.endTry(502)
		return ngx.Status(502)
	case !r.In.Has(ngx.HeaderUpgrade):
		return x.unasked()
	}
	x.guard(nil)
	if r.SendHead() != nil || r.Flush() != nil {
		x.discard()
		return ngx.Close
	}
	client, ok := r.Wire.Hijack(r)
	if !ok {
		x.discard()
		return ngx.Close
	}
	up := x.link.Conn
	if x.Rd < x.Wr {
		up.Unread(x.In[x.Rd:x.Wr])
		x.Rd = x.Wr
	}
	if r.Debugging() {
		r.Debugf("http upstream process upgraded, fu:0")
	}
	x.join(client, up)
	if r.Debugging() {
		r.Debugf("http upstream upgraded done")
	}
	client.Close()
	x.close()
	x.endTry(0)
	return ngx.OK
}

// unasked answers with a 101 that the client didn't ask for, as nginx does: its head is
// passed on, nothing of what is behind it, and both connections end.
func (x *Exchange) unasked() ngx.Outcome {
	r := x.R
	r.Errorf("upstream sent unexpected 101 while %s", WhileHead)
	x.close()
	x.endTry(0)
	r.KeepAlive = false
	if r.SendHead() != nil || r.Finish() != nil {
		return ngx.Close
	}
	return ngx.OK
}

// join copies both ways until one side ends, or nothing goes either way for _read_timeout.
func (x *Exchange) join(client, up *tcp.Conn) {
	client.SetReadTimeout(0)
	client.SetWriteTimeout(x.R.Scope.Core.SendTimeout.V)
	t := &tunnel{idle: x.H.conf.ReadTimeout.V, buffers: &x.H.exchanges.tunnels}
	t.touch()
	var sent int64
	ended := make(chan error, 1)
	go func() {
		err := t.flow(up, client, &sent)
		up.Abort()
		ended <- err
	}()
	var got int64
	err := t.flow(client, up, &got)
	client.Abort()
	if e := <-ended; errors.Is(err, tcp.ErrAborted) {
		err = e
	}
	x.got += got
	x.sent += sent
	x.src.read += got
	x.R.BytesSent += got
	x.R.BodySent += got
	switch {
	case errors.Is(err, tcp.ErrTimeout):
		x.R.Infof("upstream timed out (110: Connection timed out) while %s", WhileTunnel)
	case err != nil && !errors.Is(err, tcp.ErrAborted) && !errors.Is(err, io.EOF):
		x.R.Infof("recv() failed %s while %s", errlog.Errno(err), WhileTunnel)
	}
}

// tunnel is two joined connections.
type tunnel struct {
	idle    time.Duration // how long both may be silent
	last    atomic.Int64  // when one wasn't: Unix nanoseconds
	buffers *sync.Pool    // of *[]byte
}

func (t *tunnel) touch() { t.last.Store(time.Now().UnixNano()) }

// flow copies from one side to the other and counts in n. It holds a buffer only while there is something to copy.
func (t *tunnel) flow(to, from *tcp.Conn, n *int64) error {
	for {
		err := from.Wait()
		if err == tcp.ErrTimeout {
			left := time.Until(time.Unix(0, t.last.Load()).Add(t.idle))
			if left <= 0 {
				return err
			}
			from.SetReadTimeout(left) // the other way had something
			continue
		}
		if err != nil {
			return err
		}
		if err := t.pass(to, from, n); err != nil {
			return err
		}
	}
}

// pass copies what is there.
func (t *tunnel) pass(to, from *tcp.Conn, n *int64) error {
	buf, ok := t.buffers.Get().(*[]byte)
	if !ok {
		b := make([]byte, bodyBuffer)
		buf = &b
	}
	defer t.buffers.Put(buf)
	for {
		got, err := from.TryRead(*buf)
		if got > 0 {
			t.touch()
			if _, err := to.Write((*buf)[:got]); err != nil {
				return err
			}
			*n += int64(got)
			if got == len(*buf) {
				continue
			}
			return nil
		}
		if err == tcp.ErrWouldBlock {
			return nil
		}
		return err
	}
}
