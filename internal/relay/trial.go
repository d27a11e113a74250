package relay

import (
	"errors"
	"io"

	"limpet/internal/ngx"
	"limpet/internal/tcp"
	"limpet/upstream"
)

// Trial returns the Exchange of a request that a place passes on over a connection, nil for none. It is for the tests
// of protocols: nothing of the configuration is built, so there is no cache and no TLS.
func Trial(p Place, lv *Conf, r *ngx.Request, conn *tcp.Conn) (*Exchange, error) {
	t := lv.Pass.V
	t.groups = new(upstream.Groups)
	h := &Handler{Place: p, conf: lv, target: t, location: string(r.Scope.Name), hide: lv.hiddenFields(), temp: &ngx.TempDir{Path: lv.TempPath.V}}
	x := &Exchange{H: h, R: r, State: p.Protocol.NewState(), In: make([]byte, bodyBuffer+8<<10), BodyLength: r.Length, link: upstream.Link{Conn: conn}}
	x.blocked = x.startSpool
	r.Passed = x
	if status := t.resolve(r, &x.To); status != 0 {
		return nil, errors.New("the target can't be resolved")
	}
	r.Tries = append(r.Tries, ngx.Try{})
	return x, nil
}

// ReadAll reads the body of a Trial's answer, whose head was read, to its end, and the fields behind it to R.UpTrailer.
func (x *Exchange) ReadAll() ([]byte, error) {
	x.begin()
	var body []byte
	for {
		p, err := x.next()
		body = append(body, p...)
		if err == io.EOF {
			x.takeTrailer()
			return body, nil
		}
		if err != nil {
			return body, err
		}
	}
}

// End closes what a Trial holds.
func (x *Exchange) End() { x.close() }
