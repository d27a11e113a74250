package ssi

import (
	"bytes"
	"errors"

	"limpet/internal/ngx"
)

// include puts the answer of another request into the text, or into a variable.
func include(f *filter, r *ngx.Request, cmd *command) (bool, error) {
	uri, virtual := cmd.get("virtual")
	file, isFile := cmd.get("file")
	switch {
	case virtual && isFile:
		logError(r, `inclusion may be either virtual="%s" or file="%s"`, uri, file)
		return false, nil
	case isFile:
		uri = file
	case !virtual:
		logError(r, `no parameter in "include" SSI command`)
		return false, nil
	}
	if wait, ok := cmd.get("wait"); ok && string(wait) != "yes" && string(wait) != "no" {
		logError(r, `invalid value "%s" in the "wait" parameter`, wait)
		return false, nil
	}
	path, args, ok := f.target(r, uri)
	if !ok {
		return false, nil
	}
	if err := f.drain(r); err != nil {
		return true, err
	}
	sub := r.Sub(path, args)
	if name, ok := cmd.get("set"); ok {
		return f.intoVariable(r, sub, string(bytes.ToLower(name)))
	}
	stub, stubbed := cmd.get("stub")
	if !stubbed {
		r.Engine.Subrequest(sub, r.Outer())
		return true, nil
	}
	return f.orStub(r, sub, string(stub))
}

// target evaluates an include's URI: relative to the page's folder, escapes decoded, and no way out of the root.
func (f *filter) target(r *ngx.Request, text []byte) (path, args []byte, ok bool) {
	uri, ok := f.evaluate(r, text)
	if !ok {
		return nil, nil, false
	}
	if len(uri) == 0 || uri[0] != '/' {
		folder := r.Path[:bytes.LastIndexByte(r.Path, '/')+1]
		uri = append(append([]byte{}, folder...), uri...)
	}
	path, args, _ = bytes.Cut(uri, []byte("?"))
	if path, ok = unescape(path); !ok {
		logError(r, `unsafe URI "%s" was detected`, path)
		return nil, nil, false
	}
	return path, args, true
}

// unescape decodes a path; false for one that climbs by two dots or has a NUL.
func unescape(p []byte) ([]byte, bool) {
	out := make([]byte, 0, len(p))
	for i := 0; i < len(p); i++ {
		c := p[i]
		if c == '%' && i+2 < len(p) {
			hi, lo := ngx.Unhex(p[i+1]), ngx.Unhex(p[i+2])
			if hi >= 0 && lo >= 0 {
				c = byte(hi<<4 | lo)
				i += 2
			}
		}
		if c == 0 {
			return out, false
		}
		out = append(out, c)
	}
	for _, segment := range bytes.Split(out, []byte("/")) {
		if string(segment) == ".." {
			return out, false
		}
	}
	return out, true
}

// keeper is the sink of an include into a variable: it keeps as much as the
// place where the subrequest ended allows by subrequest_output_buffer_size.
type keeper struct {
	sub  *ngx.Request
	body []byte
	over bool
}

// Write implements ngx.Sink.
func (k *keeper) Write(_ *ngx.Request, p []byte) error {
	if k.sub.ErrorStatus != 0 { // nginx's page of an error isn't the answer
		return nil
	}
	if int64(len(k.body)+len(p)) > k.sub.Scope.Core.SubrequestOutputBuffer.V {
		k.over = true
	}
	if !k.over {
		k.body = append(k.body, p...)
	}
	return nil
}

// Flush implements ngx.Sink.
func (k *keeper) Flush(*ngx.Request) error { return nil }

// Finish implements ngx.Sink.
func (k *keeper) Finish(*ngx.Request) error { return nil }

// intoVariable keeps an answer in a variable of the page.
func (f *filter) intoVariable(r, sub *ngx.Request, name string) (bool, error) {
	k := &keeper{sub: sub}
	if _, ok := f.page.vars[name]; !ok {
		f.page.vars[name] = nil
	}
	r.Engine.Subrequest(sub, k)
	if k.over {
		logError(sub, "too big subrequest response")
		return true, errTooBig
	}
	if sub.ErrorStatus == 0 {
		f.page.vars[name] = k.body
	}
	return true, nil
}

// errTooBig ends an answer whose include doesn't fit into a variable, as nginx does.
var errTooBig = errors.New("too big subrequest response")

// stubSink passes an answer on unless it is an error's page.
type stubSink struct {
	ngx.Sink
	sub  *ngx.Request
	some bool
}

// Write implements ngx.Sink.
func (s *stubSink) Write(r *ngx.Request, p []byte) error {
	if s.sub.ErrorStatus != 0 || len(p) == 0 {
		return nil
	}
	s.some = true
	return s.Sink.Write(r, p)
}

// orStub puts a block in the place of an answer that is empty or fails. The block's commands run as the subrequest's.
func (f *filter) orStub(r, sub *ngx.Request, name string) (bool, error) {
	text, ok := f.page.blocks[name]
	if !ok {
		logError(r, `"stub"="%s" for "include" not found`, name)
		return false, nil
	}
	s := &stubSink{Sink: r.Outer(), sub: sub}
	r.Engine.Subrequest(sub, s)
	if s.some {
		return true, nil
	}
	in := newFilter(sub, f.c, f.vs)
	in.next, in.page = r.Outer(), f.page
	if err := in.Write(sub, text); err != nil {
		return true, err
	}
	return true, nil
}
