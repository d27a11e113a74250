package rx

// frame is something to come back to when matching fails.
type frame struct {
	pc  int32 // where to go on; frameSlot and the runs are marked by kind
	pos int32
	n   int32 // of a run: the least position; of a slot: its number
	k   frameKind
}

type frameKind uint8

const (
	frameBranch frameKind = iota
	frameSlot             // a slot's former value, in pos
	frameRun              // a greedy run, to be given back byte by byte
	frameLazy             // a lazy run, to be taken byte by byte up to n
)

// machine is the state of one match. Machines are used again, so that nothing is allocated.
type machine struct {
	subject []byte
	stack   []frame
	slots   []int32 // per group: begin, end, open, of which \K uses group 0's begin; then the program's own
	steps   int
}

// maxSteps bounds how often a match may come back, as PCRE2's match limit does.
const maxSteps = 10_000_000

// Outcomes of run.
const (
	noMatch = iota
	matched
	gaveUp
)

func (m *machine) push(f frame) { m.stack = append(m.stack, f) }

// put sets a slot so that coming back restores it.
func (m *machine) put(slot int, v int32) {
	if len(m.stack) > 0 {
		m.push(frame{k: frameSlot, n: int32(slot), pos: m.slots[slot]})
	}
	m.slots[slot] = v
}

// cut drops what could be tried since the stack had the given height, and keeps what restores slots.
func (m *machine) cut(height int) {
	kept := m.stack[:height]
	for _, f := range m.stack[height:] {
		if f.k == frameSlot && height > 0 {
			kept = append(kept, f)
		}
	}
	m.stack = kept
}

// undo restores the slots set since the stack had the given height.
func (m *machine) undo(height int) {
	for i := len(m.stack) - 1; i >= height; i-- {
		if f := &m.stack[i]; f.k == frameSlot {
			m.slots[f.n] = f.pos
		}
	}
	m.stack = m.stack[:height]
}

// run matches the program at a position and returns where the match ends.
func (re *Regexp) run(m *machine, start int) (end, result int) {
	insts, s := re.insts, m.subject
	m.stack = m.stack[:0]
	pc, pos := 0, start
	for {
		in := &insts[pc]
		ok := true
		switch in.op {
		case opMatch:
			return pos, matched
		case opChar:
			if ok = pos < len(s) && s[pos] == in.c; ok {
				pos++
			}
		case opFold:
			if ok = pos < len(s) && lower(s[pos]) == in.c; ok {
				pos++
			}
		case opString:
			if ok = len(s)-pos >= len(in.text) && string(s[pos:pos+len(in.text)]) == in.text; ok {
				pos += len(in.text)
			}
		case opFoldStr:
			if ok = hasFold(s[pos:], in.text); ok {
				pos += len(in.text)
			}
		case opSet:
			if ok = pos < len(s) && in.set.has(s[pos]); ok {
				pos++
			}
		case opRun, opRunAll:
			pos, ok = m.greedyRun(in, pc, pos)
		case opRunLazy:
			pos, ok = m.lazyRun(in, pc, pos)
		case opSplit:
			m.push(frame{pc: int32(in.y), pos: int32(pos)})
			pc = in.x
			continue
		case opJump:
			pc = in.x
			continue
		case opAgain:
			if int(m.slots[in.n]) == pos {
				pc = in.y
			} else {
				pc = in.x
			}
			continue
		case opCond:
			if m.slots[3*in.n] < 0 {
				pc = in.x
				continue
			}
		default:
			pos, ok = m.rare(in, pos)
		}
		if ok {
			pc++
			continue
		}
		if pc, pos, result = m.back(insts); result != matched {
			return 0, result
		}
	}
}

// greedyRun takes all that a run can have, and notes that it may be given back.
func (m *machine) greedyRun(in *inst, pc, pos int) (int, bool) {
	s := m.subject
	limit := len(s)
	if in.max >= 0 && limit-pos > in.max {
		limit = pos + in.max
	}
	at := pos
	for at < limit && in.set.has(s[at]) {
		at++
	}
	if at-pos < in.min {
		return pos, false
	}
	if in.op == opRun && at > pos+in.min {
		m.push(frame{k: frameRun, pc: int32(pc), pos: int32(at), n: int32(pos + in.min)})
	}
	return at, true
}

// lazyRun takes the least that a run must have.
func (m *machine) lazyRun(in *inst, pc, pos int) (int, bool) {
	s := m.subject
	if len(s)-pos < in.min {
		return pos, false
	}
	for k := range in.min {
		if !in.set.has(s[pos+k]) {
			return pos, false
		}
	}
	limit := len(s)
	if in.max >= 0 {
		limit = min(limit, pos+in.max)
	}
	if pos += in.min; pos < limit {
		m.push(frame{k: frameLazy, pc: int32(pc), pos: int32(pos), n: int32(limit)})
	}
	return pos, true
}

// back goes to what is to be tried next.
func (m *machine) back(insts []inst) (pc, pos, result int) {
	if m.steps++; m.steps > maxSteps {
		return 0, 0, gaveUp
	}
	s := m.subject
	for len(m.stack) > 0 {
		top := len(m.stack) - 1
		f := &m.stack[top]
		switch f.k {
		case frameBranch:
			m.stack = m.stack[:top]
			return int(f.pc), int(f.pos), matched
		case frameSlot:
			m.slots[f.n] = f.pos
			m.stack = m.stack[:top]
		case frameRun:
			in := &insts[f.pc]
			at := int(f.pos) - 1
			if in.next >= 0 {
				for at >= int(f.n) && s[at] != byte(in.next) {
					at--
				}
			}
			if at <= int(f.n) {
				m.stack = m.stack[:top]
			} else {
				f.pos = int32(at)
			}
			if at >= int(f.n) {
				return int(f.pc) + 1, at, matched
			}
		case frameLazy:
			at := int(f.pos)
			if !insts[f.pc].set.has(s[at]) {
				m.stack = m.stack[:top]
				continue
			}
			if f.pos++; f.pos >= f.n {
				m.stack = m.stack[:top]
			}
			return int(f.pc) + 1, at + 1, matched
		}
	}
	return 0, 0, noMatch
}

// rare does the instructions that most patterns use little.
func (m *machine) rare(in *inst, pos int) (int, bool) {
	s := m.subject
	switch in.op {
	case opOpen:
		m.put(3*in.n+2, int32(pos))
	case opClose:
		m.put(3*in.n, m.slots[3*in.n+2])
		m.put(3*in.n+1, int32(pos))
	case opBegin:
		return pos, pos == 0
	case opLineBegin:
		return pos, pos == 0 || pos < len(s) && s[pos-1] == '\n'
	case opEnd:
		return pos, pos == len(s) || pos == len(s)-1 && s[pos] == '\n'
	case opLineEnd:
		return pos, pos == len(s) || s[pos] == '\n'
	case opVeryEnd:
		return pos, pos == len(s)
	case opWord, opNotWord:
		before, after := pos > 0 && isWord(s[pos-1]), pos < len(s) && isWord(s[pos])
		return pos, (before != after) == (in.op == opWord)
	case opBackref, opBackFold:
		return m.backref(in, pos)
	case opMark:
		m.slots[in.n], m.slots[in.n+1] = int32(len(m.stack)), int32(pos)
	case opCut:
		m.cut(int(m.slots[in.n]))
	case opLookEnd:
		m.cut(int(m.slots[in.n]))
		return int(m.slots[in.n+1]), true
	case opNegEnd:
		m.undo(int(m.slots[in.n]))
		return pos, false
	case opBehind:
		return pos - in.n, pos >= in.n
	case opLoop:
		m.put(in.n, int32(pos))
	case opKeep:
		m.put(0, int32(pos))
	case opFail:
		return pos, false
	}
	return pos, true
}

func (m *machine) backref(in *inst, pos int) (int, bool) {
	from, to := m.slots[3*in.n], m.slots[3*in.n+1]
	if from < 0 {
		return pos, false
	}
	text, rest := m.subject[from:to], m.subject[pos:]
	if len(rest) < len(text) {
		return pos, false
	}
	for i, c := range text {
		if c != rest[i] && (in.op == opBackref || lower(c) != lower(rest[i])) {
			return pos, false
		}
	}
	return pos + len(text), true
}

// hasFold reports whether b begins with text, which is in lower case.
func hasFold(b []byte, text string) bool {
	if len(b) < len(text) {
		return false
	}
	for i := range len(text) {
		if lower(b[i]) != text[i] {
			return false
		}
	}
	return true
}
