package proxy

import (
	"errors"
	"io"

	"limpet/internal/ngx"
	"limpet/internal/tcp"
)

// upgrade answers with 101 and joins the two connections until one of them ends.
func (x *exchange) upgrade() ngx.Outcome {
	r := x.r
	if !r.In.Has(ngx.HeaderUpgrade) {
		r.Errorf("upstream sent unexpected 101 while %s", whileHead)
		x.close()
		x.endTry(502)
		return ngx.Status(502)
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
	if x.rd < x.wr {
		up.Unread(x.in[x.rd:x.wr])
		x.rd = x.wr
	}
	x.join(client, up)
	client.Close()
	x.close()
	x.endTry(0)
	return ngx.OK
}

// join copies both ways until one side ends or both are silent for proxy_read_timeout.
func (x *exchange) join(client, up *tcp.Conn) {
	core := x.r.Scope.Core
	client.SetReadTimeout(0)
	client.SetWriteTimeout(core.SendTimeout.V)
	type result struct {
		n   int64
		err error
	}
	sent := make(chan result, 1)
	go func() {
		n, err := tcp.Splice(up, client, -1)
		up.Abort()
		sent <- result{n, err}
	}()
	n, err := tcp.Splice(client, up, -1)
	client.Abort()
	s := <-sent
	x.got += n
	x.sent += s.n
	x.lastTry().Length += n
	x.r.BytesSent += n
	x.r.BodySent += n
	switch {
	case errors.Is(err, tcp.ErrTimeout):
		x.r.Errorf("upstream timed out (110: Connection timed out) while %s", whileTunnel)
	case err != nil && !errors.Is(err, tcp.ErrAborted) && !errors.Is(err, io.EOF):
		x.r.Infof("recv() failed (%s) while %s", err, whileTunnel)
	}
}
