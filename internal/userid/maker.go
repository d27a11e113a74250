package userid

import (
	"encoding/binary"
	"os"
	"sync/atomic"
	"time"

	"limpet/internal/ngx"
)

// firstV2 is where the numbers of identifiers of version 2 begin; its last byte is the version.
const firstV2 = 0x03030302

// maker makes identifiers that are unique over the process's time. It is safe for concurrent use.
type maker struct {
	start  uint32 // of the process: time and process ID
	v1, v2 atomic.Uint32
}

func newMaker() *maker {
	m := &maker{start: uint32(time.Now().Nanosecond()/1000/20)<<16 | uint32(os.Getpid())&0xffff}
	m.v1.Store(1)
	m.v2.Store(firstV2)
	return m
}

// next returns a new identifier: service, time, start of the process, serial
// number. Version 1 has them in the machine's order of bytes, version 2 in the network's.
func (m *maker) next(c *Conf, r *ngx.Request, now time.Time) (i id) {
	var order binary.ByteOrder = binary.BigEndian
	var serial uint32
	if c.Mode.V == modeV1 {
		order = binary.LittleEndian
		serial = m.v1.Add(0x100) - 0x100
	} else {
		serial = m.serialV2()
	}
	switch {
	case c.Service.IsSet():
		order.PutUint32(i[0:], uint32(c.Service.V))
	case c.Mode.V != modeV1:
		if local := r.Client.Local; local.IsValid() {
			ip := local.Addr().As16()
			copy(i[0:4], ip[12:])
		}
	}
	order.PutUint32(i[4:], uint32(now.Unix()))
	order.PutUint32(i[8:], m.start)
	order.PutUint32(i[12:], serial)
	return i
}

// serialV2 returns the next number, beginning anew when they are used up.
func (m *maker) serialV2() uint32 {
	for {
		n := m.v2.Load()
		next := n + 0x100
		if next < firstV2 {
			next = firstV2
		}
		if m.v2.CompareAndSwap(n, next) {
			return n
		}
	}
}
