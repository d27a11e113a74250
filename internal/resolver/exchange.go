package resolver

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"time"

	"limpet/internal/errlog"
)

// maxDatagram is more than any answer by UDP without extensions has.
const maxDatagram = 4096

// pending is the questions about a name that have no answer yet, one a type.
type pending struct {
	name    string
	types   []uint16
	ids     []uint16
	packets [][]byte
	replies []*message // by type; nil as long as there is none
}

// exchange asks the name servers, beginning with one, until each type has its
// reply or ctx ends it. A FormatError is about the name itself.
func (r *Resolver) exchange(ctx context.Context, name string, types []uint16, server int) ([]*message, error) {
	p := &pending{name: name, types: types, replies: make([]*message, len(types))}
	for _, t := range types {
		id := uint16(rand.Uint32())
		packet, ok := appendQuery(nil, id, name, t)
		if !ok {
			return nil, FormatError
		}
		p.ids, p.packets = append(p.ids, id), append(p.packets, packet)
	}
	for broken := 0; ctx.Err() == nil; server++ {
		begun := time.Now()
		err := r.try(ctx, p, r.Servers[server%len(r.Servers)], begun.Add(resendAfter))
		if p.complete() {
			return p.replies, nil
		}
		if err == nil {
			continue
		}
		// the others are asked at once, and all of them again after the usual time
		if broken++; broken%len(r.Servers) == 0 {
			select {
			case <-ctx.Done():
			case <-time.After(time.Until(begun.Add(resendAfter))):
			}
		}
	}
	return nil, ctx.Err()
}

func (p *pending) complete() bool {
	for _, m := range p.replies {
		if m == nil {
			return false
		}
	}
	return true
}

// try asks one server and collects replies until the deadline. An error says that
// the server can't be reached.
func (r *Resolver) try(ctx context.Context, p *pending, server netip.AddrPort, deadline time.Time) error {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(server))
	if err != nil {
		r.failedAt(server, "connect", err)
		return err
	}
	defer conn.Close()
	if r.debugging() {
		r.debugf("resolve: \"%s\", resolver: %s", p.name, server)
	}
	conn.SetDeadline(deadline)
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Now()) })()
	for i, packet := range p.packets {
		if p.replies[i] != nil {
			continue
		}
		if _, err := conn.Write(packet); err != nil {
			return r.broken(ctx, server, "send", err)
		}
	}
	buf := make([]byte, maxDatagram)
	for !p.complete() {
		n, err := conn.Read(buf)
		if err != nil {
			return r.broken(ctx, server, "recv", err)
		}
		i, m := r.match(p, server, buf[:n])
		switch {
		case m == nil:
		case m.flags&flagTruncated != 0:
			p.replies[i] = r.byTCP(ctx, p, i, server, deadline)
			if p.replies[i] == nil {
				return nil
			}
		default:
			p.replies[i] = m
		}
	}
	return nil
}

// broken notes an error of a socket; an end by time or by ctx is none.
func (r *Resolver) broken(ctx context.Context, server netip.AddrPort, op string, err error) error {
	if ctx.Err() != nil || errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	r.failedAt(server, op, err)
	return err
}

func (r *Resolver) failedAt(server netip.AddrPort, op string, err error) {
	r.say(errlog.Error, "%s() failed %s while resolving, resolver: %s", op, errlog.Errno(err), server)
}

// match finds the question that a response answers; none for one that isn't awaited.
func (r *Resolver) match(p *pending, server netip.AddrPort, b []byte) (int, *message) {
	m, err := parse(b)
	if err != nil {
		r.say(errlog.Error, "%s while resolving, resolver: %s", err, server)
		return 0, nil
	}
	if r.debugging() {
		r.debugMessage(m)
	}
	for i, t := range p.types {
		if m.typ != t || m.name != p.name {
			continue
		}
		if m.id == p.ids[i] && p.replies[i] == nil {
			return i, m
		}
		if m.id != p.ids[i] {
			r.say(errlog.Error, "wrong ident %d in DNS response for %s, expect %d while resolving, resolver: %s", m.id, p.name, p.ids[i], server)
		}
		return 0, nil
	}
	r.say(errlog.Error, "unexpected DNS response for %s while resolving, resolver: %s", m.name, server)
	return 0, nil
}

// debugMessage tells of a response.
func (r *Resolver) debugMessage(m *message) {
	r.debugf("resolver DNS response %d fl:%04X qs:%s qt:%d an:%d", m.id, m.flags, m.name, m.typ, len(m.answers))
	for _, rec := range m.answers {
		switch rec.typ {
		case typeCNAME:
			r.debugf("resolver cname:%s ttl:%d", rec.target, rec.ttl)
		case typeSRV:
			r.debugf("resolver srv:%s port:%d priority:%d weight:%d ttl:%d", rec.target, rec.port, rec.priority, rec.weight, rec.ttl)
		default:
			r.debugf("resolver addr:%s ttl:%d", rec.addr, rec.ttl)
		}
	}
}

// byTCP asks one question by TCP (RFC 7766), nil when there is no answer.
func (r *Resolver) byTCP(ctx context.Context, p *pending, i int, server netip.AddrPort, deadline time.Time) *message {
	dialer := net.Dialer{Deadline: deadline}
	conn, err := dialer.DialContext(ctx, "tcp", server.String())
	if err != nil {
		r.broken(ctx, server, "connect", err)
		return nil
	}
	defer conn.Close()
	conn.SetDeadline(deadline)
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Now()) })()
	packet := p.packets[i]
	b := append(binary.BigEndian.AppendUint16(nil, uint16(len(packet))), packet...)
	if _, err := conn.Write(b); err != nil {
		r.broken(ctx, server, "send", err)
		return nil
	}
	var size [2]byte
	if _, err = io.ReadFull(conn, size[:]); err == nil {
		b = make([]byte, binary.BigEndian.Uint16(size[:]))
		_, err = io.ReadFull(conn, b)
	}
	if err != nil {
		r.broken(ctx, server, "recv", err)
		return nil
	}
	if at, m := r.match(p, server, b); m != nil && at == i && m.flags&flagTruncated == 0 {
		return m
	}
	return nil
}
