package http2

import "golang.org/x/net/http2"

// node is a stream's place in the tree of dependencies, RFC 7540 section 5.3. That of an open stream lies in the stream,
// that of a closed or idle one in the tree.
type node struct {
	id     uint32 // 0: the root, or nobody's
	weight int64  // 1 to 256
	s      *stream
	age    uint64 // of a kept one: when it was taken

	parent, first, next, prev *node // next and prev are siblings

	turn  bool // the stream waits for its turn to send
	turns int  // how many streams of the subtree do, this one included
	// at is the time, on the parent's clock, up to which the subtree has had its share; clock is the children's, and
	// shows at of the one that had the last turn. A byte takes 256 ticks for a child of weight 1, one for a child of
	// weight 256.
	at, clock int64
}

const (
	defaultWeight = 16  // RFC 7540 section 5.3.5
	maxWeight     = 256 // and its section 5.3.2
	// keptNodes bounds the places of streams that are closed or idle. As many are kept by nginx.
	keptNodes = 32
)

// tree is the tree of dependencies of a connection: it says whose turn it is when several streams want to send. A parent
// goes before its children, and children share what it leaves by their weights. The zero tree is empty. A client that
// tells of no dependencies has all its streams below the root, and costs no memory.
type tree struct {
	root node
	// kept are the places of streams that are not open; nil until the client tells of a dependency.
	kept  []node
	taken uint64
}

// find returns the place of a stream that isn't open; nil for none.
func (t *tree) find(id uint32) *node {
	for i := range t.kept {
		if n := &t.kept[i]; n.id == id {
			return n
		}
	}
	return nil
}

// open gives a stream its place: the one that was kept for it while it was idle, else below the root.
func (t *tree) open(s *stream) {
	n := &s.node
	if was := t.find(s.id); was != nil {
		t.move(n, was)
	} else {
		*n = node{id: s.id, weight: defaultWeight}
		t.attach(n, &t.root)
	}
	n.s = s
}

// close takes a stream out that doesn't wait for a turn. Its place is kept for a time where there are dependencies.
func (t *tree) close(s *stream) {
	if t.kept == nil {
		t.detach(&s.node)
	} else {
		n := t.keep()
		t.move(n, &s.node)
		n.s = nil
	}
	s.node = node{}
}

// idle makes a place for a stream that isn't open.
func (t *tree) idle(id uint32) *node {
	n := t.keep()
	n.id, n.weight = id, defaultWeight
	t.attach(n, &t.root)
	return n
}

// keep returns a free place among those kept; the oldest gives way.
func (t *tree) keep() *node {
	if t.kept == nil {
		t.kept = make([]node, keptNodes)
	}
	oldest := &t.kept[0]
	for i := range t.kept {
		if n := &t.kept[i]; n.age < oldest.age {
			oldest = n
		}
	}
	if oldest.id != 0 {
		t.remove(oldest)
	}
	t.taken++
	*oldest = node{age: t.taken}
	return oldest
}

// remove takes a place out for good. Those below share its weight by their own, RFC 7540 section 5.3.4.
func (t *tree) remove(n *node) {
	p, sum := n.parent, int64(0)
	for k := n.first; k != nil; k = k.next {
		sum += k.weight
	}
	for n.first != nil {
		k := n.first
		k.weight = max(n.weight*k.weight/sum, 1)
		t.detach(k)
		t.attach(k, p)
	}
	t.detach(n)
}

// move has n take the place of old, which is free from then on.
func (t *tree) move(n, old *node) {
	age := n.age
	*n = *old
	n.age = age
	if n.prev != nil {
		n.prev.next = n
	} else {
		n.parent.first = n
	}
	if n.next != nil {
		n.next.prev = n
	}
	for k := n.first; k != nil; k = k.next {
		k.parent = n
	}
	*old = node{}
}

// attach puts a node and what is below it under a parent.
func (t *tree) attach(n, p *node) {
	n.parent, n.prev, n.next = p, nil, p.first
	if p.first != nil {
		p.first.prev = n
	}
	p.first = n
	n.at = p.clock
	if n.turns > 0 {
		count(p, n.turns)
	}
}

// detach takes a node and what is below it out of the tree.
func (t *tree) detach(n *node) {
	if n.turns > 0 {
		count(n.parent, -n.turns)
	}
	if n.prev != nil {
		n.prev.next = n.next
	} else {
		n.parent.first = n.next
	}
	if n.next != nil {
		n.next.prev = n.prev
	}
	n.parent, n.prev, n.next = nil, nil, nil
}

// depend gives a node another place: below parent, nil for one that isn't in the tree, by what a frame says.
// RFC 7540 section 5.3.3.
func (t *tree) depend(n, parent *node, p http2.PriorityParam) {
	weight := int64(p.Weight) + 1
	if parent == nil { // as if nothing had been said, section 5.3.1
		parent, weight, p.Exclusive = &t.root, defaultWeight, false
	}
	n.weight = weight
	if t.kept == nil && (parent != &t.root || p.Exclusive) {
		t.kept = make([]node, keptNodes)
	}
	for a := parent; a != nil; a = a.parent {
		if a == n { // the parent was below it, and takes its place first
			t.detach(parent)
			t.attach(parent, n.parent)
			break
		}
	}
	if n.parent != parent {
		t.detach(n)
		t.attach(n, parent)
	}
	if !p.Exclusive {
		return
	}
	for k := parent.first; k != nil; {
		next := k.next
		if k != n {
			t.detach(k)
			t.attach(k, n)
		}
		k = next
	}
}

// count adds to the number of streams that wait for their turn below a node and all above it. A subtree in which nobody
// waited has no claim to what others had meanwhile.
func count(n *node, turns int) {
	for ; n != nil; n = n.parent {
		if n.turns == 0 && n.parent != nil {
			n.at = max(n.at, n.parent.clock)
		}
		n.turns += turns
	}
}

// waiting reports whether a stream waits for its turn.
func (t *tree) waiting() bool { return t.root.turns > 0 }

// enter has a stream wait for its turn.
func (t *tree) enter(n *node) {
	if !n.turn {
		n.turn = true
		count(n, 1)
	}
}

// leave ends that.
func (t *tree) leave(n *node) {
	if n.turn {
		n.turn = false
		count(n, -1)
	}
}

// turn returns the stream whose turn it is; one is waiting.
func (t *tree) turn() *stream {
	n := &t.root
	for !n.turn {
		var best *node
		for k := n.first; k != nil; k = k.next {
			if k.turns > 0 && (best == nil || k.before(best)) {
				best = k
			}
		}
		n = best
	}
	return n.s
}

// before reports whether a node is served before a sibling: the one that has had less of its share, then the heavier one,
// then the one that was opened first.
func (n *node) before(other *node) bool {
	switch {
	case n.at != other.at:
		return n.at < other.at
	case n.weight != other.weight:
		return n.weight > other.weight
	}
	return n.id < other.id
}

// charge counts what the stream whose turn it was has sent.
func (t *tree) charge(n *node, size int) {
	for ; n.parent != nil; n = n.parent {
		n.parent.clock = n.at
		n.at += int64(size) * maxWeight / n.weight
	}
}
