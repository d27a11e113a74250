package http2

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http2"
)

// forest is a tree with the streams that are open.
type forest struct {
	tree
	open map[uint32]*stream
}

func newForest(ids ...uint32) *forest {
	f := &forest{open: make(map[uint32]*stream)}
	for _, id := range ids {
		f.begin(id)
	}
	return f
}

func (f *forest) begin(id uint32) {
	s := new(stream)
	s.id = id
	f.tree.open(s)
	f.open[id] = s
}

func (f *forest) end(id uint32) {
	s := f.open[id]
	f.leave(&s.node)
	f.tree.close(s)
	delete(f.open, id)
}

func (f *forest) place(id uint32) *node {
	if id == 0 {
		return &f.root
	}
	if s := f.open[id]; s != nil {
		return &s.node
	}
	return f.find(id)
}

// say is a PRIORITY frame; weight is 1 to 256.
func (f *forest) say(id, dep uint32, weight int, exclusive bool) {
	n := f.place(id)
	if n == nil {
		n = f.idle(id)
	}
	f.depend(n, f.place(dep), http2.PriorityParam{StreamDep: dep, Exclusive: exclusive, Weight: uint8(weight - 1)})
}

// String shows the tree as 1:16(3:16 5:1), children by their numbers.
func (f *forest) String() string { return show(&f.root) }

func show(n *node) string {
	var all []string
	for k := n.first; k != nil; k = k.next {
		text := fmt.Sprintf("%d:%d", k.id, k.weight)
		if k.first != nil {
			text += "(" + show(k) + ")"
		}
		all = append(all, text)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// TestTreeIsThatOfTheRFC has the examples of RFC 7540 sections 5.3.1 to 5.3.4.
func TestTreeIsThatOfTheRFC(t *testing.T) {
	for _, c := range []struct {
		rule string
		do   func(f *forest)
		want string
	}{
		{"streams are below the root", func(f *forest) {}, "1:16 3:16 5:16 7:16"},
		{"a dependency", func(f *forest) { f.say(3, 1, 4, false); f.say(5, 1, 8, false) }, "1:16(3:4 5:8) 7:16"},
		{"an exclusive one takes its siblings below it", func(f *forest) {
			f.say(3, 1, 16, false)
			f.say(5, 1, 16, false)
			f.say(7, 1, 16, true)
		}, "1:16(7:16(3:16 5:16))"},
		{"an exclusive one below the root", func(f *forest) { f.say(5, 0, 9, true) }, "5:9(1:16 3:16 7:16)"},
		{"a stream moves with what is below it", func(f *forest) {
			f.say(3, 1, 16, false)
			f.say(5, 3, 16, false)
			f.say(3, 7, 2, false)
		}, "1:16 7:16(3:2(5:16))"},
		{"below one of its own, which takes its place first", func(f *forest) {
			f.say(3, 1, 16, false)
			f.say(5, 3, 16, false)
			f.say(7, 3, 16, false)
			f.say(1, 5, 16, false)
		}, "5:16(1:16(3:16(7:16)))"},
		{"the same, exclusively", func(f *forest) {
			f.say(3, 1, 16, false)
			f.say(5, 3, 16, false)
			f.say(7, 5, 16, false)
			f.say(1, 5, 16, true)
		}, "5:16(1:16(3:16 7:16))"},
		{"below a stream that isn't there", func(f *forest) { f.say(3, 99, 200, true) }, "1:16 3:16 5:16 7:16"},
		{"below an idle stream", func(f *forest) { f.say(9, 0, 200, false); f.say(3, 9, 2, false) }, "1:16 5:16 7:16 9:200(3:2)"},
		{"an idle stream that is opened keeps its place", func(f *forest) {
			f.say(9, 1, 200, false)
			f.say(3, 9, 2, false)
			f.begin(9)
		}, "1:16(9:200(3:2)) 5:16 7:16"},
		{"a closed stream keeps its place", func(f *forest) { f.say(3, 1, 5, false); f.end(1) }, "1:16(3:5) 5:16 7:16"},
		{"what is below a removed one shares its weight", func(f *forest) {
			f.say(1, 0, 32, false)
			f.say(3, 1, 3, false)
			f.say(5, 1, 1, false)
			f.end(1)
			for id := uint32(100); id < 100+keptNodes; id++ {
				f.idle(id)
			}
			for id := uint32(100); id < 100+keptNodes; id++ {
				f.remove(f.find(id))
			}
		}, "3:24 5:8 7:16"},
	} {
		f := newForest(1, 3, 5, 7)
		c.do(f)
		if got := f.String(); got != c.want {
			t.Errorf("%s: got %s, want %s", c.rule, got, c.want)
		}
	}
}

// order lets streams that always have something to send take turns of a thousand bytes.
func (f *forest) order(turns int, ids ...uint32) (got []uint32) {
	for _, id := range ids {
		f.enter(f.place(id))
	}
	for range turns {
		s := f.turn()
		got = append(got, s.id)
		f.charge(&s.node, 1000)
	}
	return got
}

func TestParentsGoBeforeTheirChildren(t *testing.T) {
	f := newForest(1, 3, 5)
	f.say(1, 3, 256, false)
	f.say(3, 5, 1, false)
	for _, want := range []uint32{5, 3, 1} {
		if got := f.order(2, want); got[0] != want || got[1] != want {
			t.Errorf("got %v, want %d as long as it has something", got, want)
		}
		if want == 5 {
			f.enter(f.place(3))
			f.enter(f.place(1))
			if got := f.order(1); got[0] != 5 {
				t.Errorf("got %v, want 5", got)
			}
		}
		f.end(want)
	}
}

func TestSiblingsShareByWeight(t *testing.T) {
	f := newForest(1, 3, 5)
	f.say(1, 0, 128, false)
	f.say(3, 0, 64, false)
	f.say(5, 0, 64, false)
	count := make(map[uint32]int)
	for _, id := range f.order(400, 1, 3, 5) {
		count[id]++
	}
	if count[1] != 200 || count[3] != 100 || count[5] != 100 {
		t.Errorf("got %v", count)
	}
}

func TestSubtreesShareByTheirWeight(t *testing.T) {
	f := newForest(1, 3, 5)
	f.say(7, 0, 30, false) // idle: a group
	f.say(9, 0, 10, false)
	f.say(1, 7, 1, false)
	f.say(3, 7, 2, false)
	f.say(5, 9, 256, false)
	count := make(map[uint32]int)
	for _, id := range f.order(400, 1, 3, 5) {
		count[id]++
	}
	if count[1] != 100 || count[3] != 200 || count[5] != 100 {
		t.Errorf("got %v", count)
	}
}

// TestNoCreditForThePast has a stream join that didn't want to send while the other one did.
func TestNoCreditForThePast(t *testing.T) {
	f := newForest(1, 3)
	f.order(1000, 1)
	if got := f.order(6, 1, 3); slices.Index(got, 1) > 1 {
		t.Errorf("got %v", got)
	}
}

func TestKeptPlacesAreBounded(t *testing.T) {
	f := newForest(1)
	for id := uint32(3); id < 2000; id += 2 {
		f.say(id, id-2, 16, false)
	}
	nodes := 0
	var walk func(n *node)
	walk = func(n *node) {
		for k := n.first; k != nil; k = k.next {
			nodes++
			walk(k)
		}
	}
	walk(&f.root)
	if nodes != keptNodes+1 || len(f.kept) != keptNodes {
		t.Errorf("%d nodes", nodes)
	}
}

// TestWeightsAloneCostNothing is about clients that tell of no dependencies.
func TestWeightsAloneCostNothing(t *testing.T) {
	f, s := new(tree), new(stream)
	if n := testing.AllocsPerRun(100, func() {
		s.id += 2
		f.open(s)
		f.depend(&s.node, &f.root, http2.PriorityParam{Weight: 200})
		f.enter(&s.node)
		f.charge(&f.turn().node, 100)
		f.leave(&s.node)
		f.close(s)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestTreeStaysWhole does things at random and looks at all links and counts.
func TestTreeStaysWhole(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	f := newForest()
	for i := range 20000 {
		id := uint32(1 + 2*rnd.IntN(50))
		switch rnd.IntN(6) {
		case 0:
			if f.open[id] == nil {
				f.begin(id)
			}
		case 1:
			if f.open[id] != nil {
				f.end(id)
			}
		case 2:
			if s := f.open[id]; s != nil {
				f.enter(&s.node)
			}
		case 3:
			if f.waiting() {
				s := f.turn()
				f.charge(&s.node, rnd.IntN(1000))
				f.leave(&s.node)
			}
		default:
			if dep := uint32(2*rnd.IntN(50)) + 1; dep != id {
				f.say(id, dep*uint32(rnd.IntN(4)&1), 1+rnd.IntN(256), rnd.IntN(3) == 0)
			}
		}
		if err := check(&f.root); err != nil {
			t.Fatalf("behind step %d: %v", i, err)
		}
	}
}

func check(n *node) error {
	turns := 0
	if n.turn {
		turns++
	}
	prev := (*node)(nil)
	for k := n.first; k != nil; prev, k = k, k.next {
		if k.parent != n || k.prev != prev || k.weight < 1 || k.weight > maxWeight || k.s != nil && &k.s.node != k {
			return fmt.Errorf("bad links of %d", k.id)
		}
		if err := check(k); err != nil {
			return err
		}
		turns += k.turns
	}
	if turns != n.turns {
		return fmt.Errorf("%d waits below %d, counted %d", turns, n.id, n.turns)
	}
	return nil
}

func BenchmarkTurn(b *testing.B) {
	f := newForest()
	for id := uint32(1); id < 256; id += 2 {
		f.begin(id)
		f.enter(f.place(id))
	}
	b.ReportAllocs()
	for b.Loop() {
		f.charge(&f.turn().node, 8192)
	}
}
