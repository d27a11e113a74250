package relay

import (
	"limpet/internal/http1"
	"limpet/internal/ngx"
)

// ParseCGI parses a head as CGI has it, which is In[Rd:Wr]: fields, of which Status says what HTTP's first line would.
// Without one, a Location makes it 302, else it is 200. It is a Protocol's ParseHead.
// https://www.rfc-editor.org/rfc/rfc3875#section-6
func (x *Exchange) ParseCGI() (done bool, fail Failure) {
	x.Status, x.Reason = 0, nil
	if done, fail = x.ParseFields(x.Rd); !done || fail.Class != 0 {
		return done, fail
	}
	return true, x.statusField()
}

// parseCGIOrHTTP is ParseCGI for programs that may begin their answers with HTTP's first line, too.
func (x *Exchange) parseCGIOrHTTP(line *http1.StatusLine) (done bool, fail Failure) {
	n, ok := line.ParseStatusLine(x.In[x.Rd:x.Wr])
	switch {
	case !ok:
		return x.ParseCGI()
	case n == 0:
		return false, Failure{}
	}
	x.Status, x.Reason = line.Status, line.Text
	return x.ParseFields(x.Rd + n)
}

func (x *Exchange) statusField() Failure {
	var status, location []byte
	for i := range x.R.UpHead.Fields {
		switch f := &x.R.UpHead.Fields[i]; {
		case f.ID == ngx.HeaderLocation:
			location = f.Value
		case f.ID == ngx.HeaderOther && ngx.EqualFold(f.Name, "Status"):
			status = f.Value
		}
	}
	switch {
	case status != nil:
		n, ok := 0, len(status) >= 3
		for i := 0; i < 3 && ok; i++ {
			n, ok = n*10+int(status[i]-'0'), '0' <= status[i] && status[i] <= '9'
		}
		if !ok {
			x.R.Errorf(`upstream sent invalid status "%s" while %s`, status, WhileHead)
			return Failure{Class: NextInvalidHeader, Status: 502}
		}
		x.Status, x.Reason = n, status
	case location != nil:
		x.Status = 302
	default:
		x.Status = 200
	}
	return Failure{}
}

// CGI is what protocols have in common that send a body as it is and whose answers are a CGI head, or HTTP's, and a body
// up to the connection's end or of a given length. Params are what a request says.
type CGI struct{ Params *Params }

// CGIState is what a request keeps of such a protocol.
type CGIState struct {
	line  http1.StatusLine
	pairs []Pair
}

// NewState implements Protocol.
func (CGI) NewState() any { return new(CGIState) }

// Pairs returns the parameters of a request, good until the next call. Whoever has written them clears them.
func (c CGI) Pairs(x *Exchange) []Pair {
	s := x.State.(*CGIState)
	s.pairs = c.Params.Append(s.pairs[:0], x)
	return s.pairs
}

// ParseHead implements Protocol.
func (CGI) ParseHead(x *Exchange) (done bool, fail Failure) {
	return x.parseCGIOrHTTP(&x.State.(*CGIState).line)
}

// Send implements Protocol.
func (CGI) Send(x *Exchange) Failure { return x.Send() }

// Frame implements Protocol.
func (CGI) Frame(x *Exchange, n int, _ bool) []byte { return x.In[FrameRoom : FrameRoom+n] }

// ReadHead implements Protocol. The connection isn't kept.
func (CGI) ReadHead(x *Exchange) Failure {
	fail := x.AwaitHead()
	x.Framed, x.Keep = false, false
	x.NoBody = x.Bodiless()
	return fail
}

// Bodiless reports whether nothing is to be read behind the head of a CGI program's answer: one to HEAD may have a body
// all the same, which only a cache wants.
func (x *Exchange) Bodiless() bool {
	return x.Status == 204 || x.Status == 304 || string(x.R.Method) == "HEAD" && !x.wanted()
}

// Decode implements Protocol; there is no framing.
func (CGI) Decode(*Exchange, []byte) ([]byte, error) {
	return nil, FramingError("upstream sent invalid response")
}
