package rx

// opcode is what an instruction does.
type opcode uint8

const (
	opMatch     opcode = iota
	opChar             // the byte c
	opFold             // the letter c in either case
	opString           // the bytes text
	opFoldStr          // the bytes text, letters in either case
	opSet              // a byte of set
	opRun              // min to max bytes of set, greedy
	opRunLazy          // the same, lazy
	opRunAll           // the same, possessive
	opSplit            // x, and y when that fails
	opJump             // x
	opOpen             // group n begins
	opClose            // group n ends
	opBackref          // group n's text again
	opBackFold         // the same, letters in either case
	opBegin            // subject's beginning
	opLineBegin        // a line's
	opEnd              // subject's end, or before a final newline
	opLineEnd          // a line's
	opVeryEnd          // subject's end
	opWord             // word boundary
	opNotWord          // none
	opMark             // an atomic group or lookaround begins: notes the stack's height and the position in slots n, n+1
	opCut              // the group ends: what could be tried in it no more is dropped
	opLookEnd          // a lookahead ends: as opCut, and back to its beginning
	opNegEnd           // a negative one: all is undone, and it fails
	opBehind           // n bytes back
	opLoop             // an iteration begins, which may be empty: position in slot n
	opAgain            // it ends: x for the next one unless it was empty
	opCond             // x when group n isn't set
	opKeep             // \K
	opFail
)

// inst is one instruction.
type inst struct {
	op       opcode
	c        byte
	next     int16 // of opRun: the byte that must follow, -1 when any may
	n        int   // group, slot, distance
	x, y     int
	min, max int
	set      *set
	text     string
}

// maxProgram bounds a program, whose counted repetitions are copies.
const maxProgram = 200000

// compiler makes a program of a parsed pattern.
type compiler struct {
	insts  []inst
	slots  int // behind the groups' ones
	noCaps int // more than 0 inside a call
	tooBig bool
}

func (c *compiler) add(in inst) int {
	if len(c.insts) >= maxProgram {
		c.tooBig = true
		return len(c.insts) - 1
	}
	c.insts = append(c.insts, in)
	return len(c.insts) - 1
}

// here is where the next instruction will stand.
func (c *compiler) here() int { return len(c.insts) }

// slot reserves n places for numbers in a match.
func (c *compiler) slot(n int) int {
	c.slots += n
	return c.slots - n
}

func (c *compiler) node(n *node) {
	if c.tooBig {
		return
	}
	switch n.kind {
	case kindChar:
		if n.fold {
			c.add(inst{op: opFold, c: lower(n.char)})
		} else {
			c.add(inst{op: opChar, c: n.char})
		}
	case kindSet:
		c.add(inst{op: opSet, set: n.set})
	case kindConcat:
		c.concat(n.sub)
	case kindAlternate:
		c.alternate(n.sub)
	case kindRepeat:
		c.repeat(n)
	case kindGroup:
		if c.noCaps > 0 {
			c.node(n.sub[0])
			return
		}
		c.add(inst{op: opOpen, n: n.group})
		c.node(n.sub[0])
		c.add(inst{op: opClose, n: n.group})
	case kindCall:
		c.noCaps++
		c.node(n.sub[0])
		c.noCaps--
	case kindAtomic:
		c.atomic(func() { c.node(n.sub[0]) })
	case kindLook:
		c.look(n)
	case kindCond:
		c.cond(n)
	case kindBackref:
		op := opBackref
		if n.fold {
			op = opBackFold
		}
		c.add(inst{op: op, n: n.group})
	case kindWord:
		if n.neg {
			c.add(inst{op: opNotWord})
		} else {
			c.add(inst{op: opWord})
		}
	default:
		if op := simple(n.kind); op != opJump {
			c.add(inst{op: op})
		}
	}
}

// simple returns the instruction of a node without parts, opJump for none.
func simple(k kind) opcode {
	switch k {
	case kindBegin:
		return opBegin
	case kindLineBegin:
		return opLineBegin
	case kindEnd:
		return opEnd
	case kindLineEnd:
		return opLineEnd
	case kindVeryEnd:
		return opVeryEnd
	case kindKeep:
		return opKeep
	case kindFail:
		return opFail
	}
	return opJump
}

// concat joins adjacent bytes to strings.
func (c *compiler) concat(subs []*node) {
	for i := 0; i < len(subs); {
		end, folds := i, false
		for end < len(subs) && subs[end].kind == kindChar {
			folds = folds || subs[end].fold
			end++
		}
		if end-i < 2 || folds && !foldable(subs[i:end]) {
			c.node(subs[i])
			i++
			continue
		}
		text := make([]byte, 0, end-i)
		for _, s := range subs[i:end] {
			if folds {
				text = append(text, lower(s.char))
			} else {
				text = append(text, s.char)
			}
		}
		op := opString
		if folds {
			op = opFoldStr
		}
		c.add(inst{op: op, text: string(text)})
		i = end
	}
}

// foldable reports whether all letters are of either case.
func foldable(chars []*node) bool {
	for _, n := range chars {
		if isLetter(n.char) && !n.fold {
			return false
		}
	}
	return true
}

func (c *compiler) alternate(subs []*node) {
	if s := oneByte(subs); s != nil {
		c.add(inst{op: opSet, set: s})
		return
	}
	var ends []int
	for i, s := range subs {
		if i == len(subs)-1 {
			c.node(s)
			break
		}
		split := c.add(inst{op: opSplit})
		c.insts[split].x = c.here()
		c.node(s)
		ends = append(ends, c.add(inst{op: opJump}))
		c.insts[split].y = c.here()
	}
	for _, e := range ends {
		c.insts[e].x = c.here()
	}
}

// oneByte returns the set of alternatives that are all one byte long, else nil.
func oneByte(subs []*node) *set {
	all := new(set)
	for _, n := range subs {
		s := n.byteSet()
		if s == nil {
			return nil
		}
		all.addSet(s)
	}
	return all
}

// byteSet returns the set of a node that matches exactly one byte, nil for other nodes.
func (n *node) byteSet() *set {
	switch n.kind {
	case kindSet:
		return n.set
	case kindChar:
		s := new(set)
		s.add(n.char)
		if n.fold {
			s.foldCase()
		}
		return s
	case kindConcat:
		if len(n.sub) == 1 {
			return n.sub[0].byteSet()
		}
	case kindAlternate:
		return oneByte(n.sub)
	}
	return nil
}

func (c *compiler) repeat(n *node) {
	if n.max == 0 {
		return
	}
	body := n.sub[0]
	if s := body.byteSet(); s != nil {
		op := [...]opcode{greedy: opRun, lazy: opRunLazy, possessive: opRunAll}[n.mode]
		c.add(inst{op: op, set: s, min: n.min, max: n.max, next: -1})
		return
	}
	if n.mode == possessive {
		c.atomic(func() { c.copies(n, greedy) })
		return
	}
	c.copies(n, n.mode)
}

// copies lays out the iterations of a repetition: the required ones, then the optional ones or a loop.
func (c *compiler) copies(n *node, m mode) {
	body := n.sub[0]
	required := n.min
	if n.max < 0 && n.min > 0 {
		required-- // the last one is the loop's body
	}
	for range required {
		c.node(body)
		if c.tooBig {
			return
		}
	}
	if n.max < 0 {
		c.loop(body, m, n.min > 0)
		return
	}
	var splits []int
	for range n.max - n.min {
		splits = append(splits, c.split(m))
		c.node(body)
		if c.tooBig {
			return
		}
	}
	for _, s := range splits {
		c.leave(s, m)
	}
}

// split makes a choice between going on and leaving, which leave fills in.
func (c *compiler) split(m mode) int {
	s := c.add(inst{op: opSplit})
	if m == greedy {
		c.insts[s].x = c.here()
	} else {
		c.insts[s].y = c.here()
	}
	return s
}

func (c *compiler) leave(split int, m mode) {
	if m == greedy {
		c.insts[split].y = c.here()
	} else {
		c.insts[split].x = c.here()
	}
}

// loop lays out an iteration that is repeated without limit; once: at least one.
func (c *compiler) loop(body *node, m mode, once bool) {
	start := c.here()
	slot := -1
	if body.nullable() {
		slot = c.slot(1)
	}
	choice := -1
	if !once {
		choice = c.split(m)
	}
	bodyStart := c.here()
	if slot >= 0 {
		c.add(inst{op: opLoop, n: slot})
	}
	c.node(body)
	if once {
		if slot >= 0 {
			// an empty iteration leaves by y
			again := c.add(inst{op: opAgain, n: slot})
			c.insts[again].x = c.here()
			s := c.add(inst{op: opSplit})
			c.fillLoop(s, bodyStart, m)
			c.insts[again].y = c.here()
			return
		}
		s := c.add(inst{op: opSplit})
		c.fillLoop(s, bodyStart, m)
		return
	}
	if slot >= 0 {
		again := c.add(inst{op: opAgain, n: slot, x: start})
		c.insts[again].y = c.here()
	} else {
		c.add(inst{op: opJump, x: start})
	}
	c.leave(choice, m)
}

// fillLoop makes a choice between a loop's body and what follows the choice.
func (c *compiler) fillLoop(split, body int, m mode) {
	in := &c.insts[split]
	if in.x, in.y = body, c.here(); m == lazy {
		in.x, in.y = in.y, in.x
	}
}

func (c *compiler) atomic(body func()) {
	slot := c.slot(2)
	c.add(inst{op: opMark, n: slot})
	body()
	c.add(inst{op: opCut, n: slot})
}

func (c *compiler) look(n *node) {
	slot := c.slot(2)
	split := -1
	c.add(inst{op: opMark, n: slot})
	if n.neg {
		split = c.add(inst{op: opSplit})
		c.insts[split].x = c.here()
	}
	if n.behind {
		c.behind(n.sub[0])
	} else {
		c.node(n.sub[0])
	}
	if n.neg {
		c.add(inst{op: opNegEnd, n: slot})
		c.insts[split].y = c.here()
		return
	}
	c.add(inst{op: opLookEnd, n: slot})
}

// behind lays out a lookbehind: each alternative goes back by its own length first.
func (c *compiler) behind(n *node) {
	alts := []*node{n}
	if n.kind == kindAlternate {
		alts = n.sub
	}
	back := make([]*node, len(alts))
	for i, a := range alts {
		w, _ := a.width()
		back[i] = &node{kind: kindConcat, sub: []*node{{kind: kindBack, min: w}, a}}
	}
	if len(back) == 1 {
		c.backTo(back[0])
		return
	}
	var ends []int
	for i, b := range back {
		if i == len(back)-1 {
			c.backTo(b)
			break
		}
		split := c.add(inst{op: opSplit})
		c.insts[split].x = c.here()
		c.backTo(b)
		ends = append(ends, c.add(inst{op: opJump}))
		c.insts[split].y = c.here()
	}
	for _, e := range ends {
		c.insts[e].x = c.here()
	}
}

func (c *compiler) backTo(n *node) {
	c.add(inst{op: opBehind, n: n.sub[0].min})
	c.node(n.sub[1])
}

func (c *compiler) cond(n *node) {
	var to int
	if len(n.sub) == 3 {
		// The lookaround holds or not, once: its outcome isn't tried again.
		slot := c.slot(2)
		c.add(inst{op: opMark, n: slot})
		split := c.add(inst{op: opSplit})
		c.insts[split].x = c.here()
		c.node(n.sub[2])
		c.add(inst{op: opCut, n: slot})
		c.node(n.sub[0])
		end := c.add(inst{op: opJump})
		c.insts[split].y = c.here()
		c.node(n.sub[1])
		c.insts[end].x = c.here()
		return
	}
	to = c.add(inst{op: opCond, n: n.group})
	c.node(n.sub[0])
	end := c.add(inst{op: opJump})
	c.insts[to].x = c.here()
	c.node(n.sub[1])
	c.insts[end].x = c.here()
}

// settle finds out which byte must follow a run; a run whose bytes exclude it gives nothing back.
func (c *compiler) settle() {
	for i := range c.insts {
		in := &c.insts[i]
		if in.op != opRun {
			continue
		}
		follow := i + 1
		for c.insts[follow].op == opClose || c.insts[follow].op == opOpen || c.insts[follow].op == opJump {
			if c.insts[follow].op == opJump {
				follow = c.insts[follow].x
			} else {
				follow++
			}
		}
		switch f := &c.insts[follow]; f.op {
		case opChar:
			in.next = int16(f.c)
		case opString:
			in.next = int16(f.text[0])
		case opVeryEnd:
			in.op = opRunAll
		case opEnd:
			if !in.set.has('\n') {
				in.op = opRunAll
			}
		}
		if in.next >= 0 && !in.set.has(byte(in.next)) {
			in.op = opRunAll
		}
	}
}
