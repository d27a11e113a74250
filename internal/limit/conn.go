package limit

import (
	"hash/crc32"
	"sync"

	"limpet/internal/ngx"
)

// connNodeSize is the size of nginx's node of a limit_conn zone, without its key.
const connNodeSize = 36

// connZone counts connections by key. It is safe for concurrent use.
type connZone struct {
	mu    sync.Mutex // guards what follows
	nodes map[string]*connNode
	free  int64 // bytes
}

// connNode counts the connections of one key; it is there while there are any.
type connNode struct {
	zone *connZone
	key  string
	n    int
}

func newConnZone(size int64) *connZone {
	return &connZone{nodes: make(map[string]*connNode), free: budget(size)}
}

// take counts a connection in, unless limit is reached or the zone is full. n is how many there are with it.
func (z *connZone) take(key []byte, limit int) (node *connNode, n int, full bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	node = z.nodes[string(key)]
	if node == nil {
		c := cost(connNodeSize, len(key))
		if z.free < c {
			return nil, 0, true
		}
		z.free -= c
		node = &connNode{zone: z, key: string(key)}
		z.nodes[node.key] = node
	}
	if node.n >= limit {
		return nil, node.n, false
	}
	node.n++
	return node, node.n, false
}

// EndRequest implements ngx.Ender: the request that was counted has ended.
func (n *connNode) EndRequest() {
	z := n.zone
	z.mu.Lock()
	defer z.mu.Unlock()
	if n.n--; n.n == 0 {
		delete(z.nodes, n.key)
		z.free += cost(connNodeSize, len(n.key))
	}
}

// connStep counts requests in progress by limit_conn; nil without one.
func connStep(c *Conf) ngx.Step {
	limits := c.Conns.V
	if len(limits) == 0 {
		return nil
	}
	return func(r *ngx.Request) ngx.Outcome {
		if r.Main.LimitConn != ngx.LimitNone {
			return ngx.Next
		}
		return c.limitConn(r, limits)
	}
}

// limitConn counts the request by every limit, or by none where one is reached.
func (c *Conf) limitConn(r *ngx.Request, limits []connLimit) ngx.Outcome {
	var few [4]*connNode
	counted := few[:0]
	for i := range limits {
		l := &limits[i]
		key := l.zone.value(r, 255)
		if len(key) == 0 {
			continue
		}
		r.Main.LimitConn = ngx.LimitPassed
		node, n, full := l.zone.conn.take(key, l.max)
		if r.Debugging() {
			r.Debugf(`limit conn: %08X %d of %d, zone "%s", key "%s"`, crc32.ChecksumIEEE(key), n, l.max, l.zone.name, key)
		}
		if node == nil {
			for _, n := range counted {
				n.EndRequest()
			}
			return c.refuseConn(r, l.zone, full)
		}
		counted = append(counted, node)
	}
	for _, n := range counted {
		r.OnEnd(n)
	}
	return ngx.Next
}

// refuseConn answers a request beyond a limit.
func (c *Conf) refuseConn(r *ngx.Request, z *zoneConf, full bool) ngx.Outcome {
	dry := c.ConnDryRun.V
	switch {
	case full:
		r.Critf(`ngx_slab_alloc() failed: no memory in limit_conn_zone "%s"`, z.name)
	case dry:
		r.Logf(c.ConnLevel.V, `limiting connections, dry run, by zone "%s"`, z.name)
	default:
		r.Logf(c.ConnLevel.V, `limiting connections by zone "%s"`, z.name)
	}
	if dry {
		r.Main.LimitConn = ngx.LimitRejectedDryRun
		return ngx.Next
	}
	r.Main.LimitConn = ngx.LimitRejected
	return ngx.Status(c.ConnStatus.V)
}
