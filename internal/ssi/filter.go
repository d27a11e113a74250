package ssi

import (
	"bytes"

	"limpet/internal/ngx"
)

const (
	opening = "<!--#"
	closing = "-->"
	// maxCommand bounds a command's text, which is kept until its end comes.
	maxCommand = 64 << 10
)

// filter runs the commands of a body that comes in pieces. What may be a
// command's beginning at a piece's end is held back until the next piece.
type filter struct {
	next  ngx.Sink
	c     *Conf
	vs    *ngx.Vars
	page  *page
	held  []byte
	out   []byte // text to be passed on
	conds []cond
	// block is the block being read; nil outside of one.
	block    *block
	timeFmt  string
	encoding int // of echo
	errMsg   string
}

// page is what the commands of a request and of all its subrequests share.
type page struct {
	vars     map[string][]byte
	blocks   map[string][]byte
	captures map[string][]byte // of the last pattern: numbers and names
}

// cond is an `if` that isn't ended.
type cond struct {
	on     bool // text is passed on
	taken  bool // a branch was chosen
	inElse bool
}

// block is a block being read; the text of one in a branch not chosen is dropped.
type block struct {
	name string
	text []byte
	drop bool
}

func newFilter(r *ngx.Request, c *Conf, vs *ngx.Vars) *filter {
	f := &filter{c: c, vs: vs, errMsg: "[an error occurred while processing the directive]", timeFmt: defaultTimeFormat}
	if main, ok := ngx.FilterOf[*filter](r.Main); ok {
		f.page = main.page
	} else {
		f.page = &page{make(map[string][]byte), make(map[string][]byte), nil}
	}
	return f
}

// Chain implements ngx.BodyFilter.
func (f *filter) Chain(next ngx.Sink) { f.next = next }

// Write implements ngx.Sink.
func (f *filter) Write(r *ngx.Request, p []byte) error {
	if len(f.held) > 0 {
		f.held = append(f.held, p...)
		p = f.held
	} else if f.block == nil && f.shown() && !bytes.Contains(p, []byte("<")) {
		return f.next.Write(r, p)
	}
	rest, err := f.scan(r, p)
	if err != nil {
		return err
	}
	f.held = append(f.held[:0], rest...)
	return f.drain(r)
}

// scan passes on text and runs commands, and returns what can't be told yet.
func (f *filter) scan(r *ngx.Request, p []byte) ([]byte, error) {
	for {
		i := bytes.Index(p, []byte(opening))
		if i < 0 {
			keep := beginning(p)
			f.text(p[:len(p)-keep])
			return p[len(p)-keep:], nil
		}
		f.text(p[:i])
		p = p[i:]
		cmd, n, state := parseCommand(p, int(f.c.ValueLength.V))
		switch {
		case state == parseMore && len(p) <= maxCommand:
			return p, nil
		case state == parseMore:
			logError(r, "too long SSI command")
			return nil, f.fail(r)
		}
		if err := f.command(r, cmd, p[:n], state); err != nil {
			return nil, err
		}
		p = p[n:]
	}
}

// beginning returns the length of the opening's beginning at the end of p.
func beginning(p []byte) int {
	for n := min(len(opening)-1, len(p)); n > 0; n-- {
		if string(p[len(p)-n:]) == opening[:n] {
			return n
		}
	}
	return 0
}

// shown reports whether text at this place is passed on.
func (f *filter) shown() bool { return len(f.conds) == 0 || f.conds[len(f.conds)-1].on }

// text passes text on, keeps it for a block, or drops it.
func (f *filter) text(p []byte) {
	switch {
	case f.block != nil:
		if !f.block.drop {
			f.block.text = append(f.block.text, p...)
		}
	case f.shown():
		f.out = append(f.out, p...)
	}
}

// drain hands on what has gathered.
func (f *filter) drain(r *ngx.Request) error {
	if len(f.out) == 0 {
		return nil
	}
	err := f.next.Write(r, f.out)
	f.out = f.out[:0]
	return err
}

// fail puts the message of errors in the place of a command.
func (f *filter) fail(*ngx.Request) error {
	if !f.c.SilentErrors.V {
		f.out = append(f.out, f.errMsg...)
	}
	return nil
}

// Flush implements ngx.Sink.
func (f *filter) Flush(r *ngx.Request) error { return f.next.Flush(r) }

// Finish implements ngx.Sink. A command that never ends goes, as in nginx.
func (f *filter) Finish(r *ngx.Request) error {
	if len(f.held) < len(opening) {
		f.text(f.held)
	}
	f.held = nil
	if err := f.drain(r); err != nil {
		return err
	}
	return f.next.Finish(r)
}

// command runs one command; raw is its text.
func (f *filter) command(r *ngx.Request, cmd *command, raw []byte, state int) error {
	if f.block != nil && !(state == parseGood && cmd.name == "endblock") {
		f.text(raw)
		return nil
	}
	if !f.shown() && (state != parseGood || !cmd.structural()) {
		return nil
	}
	if state != parseGood {
		logError(r, "%s", cmd.problem)
		return f.fail(r)
	}
	run, ok := cmd.check(r)
	if !ok {
		return f.fail(r)
	}
	if ok, err := run(f, r, cmd); !ok || err != nil {
		if err != nil {
			return err
		}
		return f.fail(r)
	}
	return nil
}

// logError logs an error of a command with nginx's words for when it was met.
func logError(r *ngx.Request, format string, args ...any) {
	r.Errorf(format+" while sending response to client", args...)
}
