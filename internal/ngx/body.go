package ngx

import (
	"io"
	"os"
)

// Body is the request's body once it was read whole: in memory, or in a temporary file from a size on.
type Body struct {
	Read bool     // ReadAll has succeeded
	Mem  []byte   // the whole body when File is nil, else nothing
	File *os.File // unlinked unless client_body_in_file_only keeps it
	Name string   // the file's name while it has one: $request_body_file
	Size int64
}

// Each hands the whole body to fn in pieces, as often as it is called: for each try of a peer.
func (b *Body) Each(fn func(p []byte) error) error {
	if b.File == nil {
		if len(b.Mem) == 0 {
			return nil
		}
		return fn(b.Mem)
	}
	buf := make([]byte, 64<<10)
	for off := int64(0); off < b.Size; {
		n, err := b.File.ReadAt(buf[:min(int64(len(buf)), b.Size-off)], off)
		if n == 0 {
			return err
		}
		if err := fn(buf[:n]); err != nil {
			return err
		}
		off += int64(n)
	}
	return nil
}

// Close frees what the body holds.
func (b *Body) Close() {
	if b.File != nil {
		b.File.Close()
	}
	*b = Body{}
}

// HasBody reports whether the request has a body by its framing.
func (r *Request) HasBody() bool { return r.Length > 0 || r.Chunked }

// ReadAll reads the request's body whole, to memory up to client_body_buffer_size
// and to a temporary file beyond. It may be called again. The outcome is Next,
// or the status to end with (400, 408, 413, 500), or Close.
func (r *Request) ReadAll() Outcome {
	m := r.Main
	if m.Body.Read {
		return Next
	}
	if !m.HasBody() {
		m.Body.Read = true
		m.Wire.ReadBody(m, nil) // a client may wait for 100 Continue with a body of no bytes, too
		return Next
	}
	if r.Debugging() {
		r.Debugf("http read client request body")
	}
	err := m.Body.fill(m)
	if r.Debugging() {
		r.Debugf("http client request body recv %d, in a file: %t", m.Body.Size, m.Body.File != nil)
	}
	if err == nil {
		m.Body.Read = true
		return Next
	}
	return m.BodyError(err)
}

// BodyError turns an error of reading the body into an outcome and logs it.
func (r *Request) BodyError(err error) Outcome {
	if se, ok := err.(*StatusError); ok {
		if se.Msg != "" {
			r.Errorf("%s", se.Msg)
		}
		if se.Status == 408 { // nobody is answered who didn't send
			r.Status = 408
			return Close
		}
		return Status(se.Status)
	}
	r.Infof("client prematurely closed connection")
	r.Status = 400
	return Close
}

// DiscardBody says that nobody reads the request's body: 100 Continue is sent where
// it is due, and what has come of the body is checked. The rest is read behind the
// answer. The outcome is Next, or the status to end with.
func (r *Request) DiscardBody() Outcome {
	if !r.IsMain() || r.Body.Read {
		return Next
	}
	if r.Debugging() {
		r.Debugf("http set discard body")
	}
	if err := r.Wire.Discard(r); err != nil {
		return r.BodyError(err)
	}
	return Next
}

// smallBody is the size up to which a body is read into the memory that the connection's requests share.
const smallBody = 4 << 10

func (b *Body) fill(r *Request) error {
	core := r.Scope.Core
	limit := core.ClientBodyBufferSize.V
	inFile := core.ClientBodyInFileOnly.V != BodyFileOff
	size := limit
	most := limit + limit/4 - 1 // nginx gives a quarter more rather than a file, but not in HTTP/2
	if r.Proto == HTTP20 {
		most = limit
	}
	if r.Length >= 0 && r.Length <= most {
		size = r.Length
	}
	var buf []byte
	if size <= smallBody {
		buf = r.Alloc(int(size))[:0]
	} else {
		buf = make([]byte, 0, size)
	}
	for {
		if len(buf) == cap(buf) {
			if r.Length >= 0 && b.Size+int64(len(buf)) == r.Length && b.File == nil && !inFile {
				if n, err := r.Wire.ReadBody(r, r.Alloc(1)); n == 0 && err == io.EOF {
					break
				} else if err != nil && err != io.EOF {
					return err
				}
			}
			if err := b.spill(r, buf); err != nil {
				return err
			}
			buf = buf[:0]
		}
		n, err := r.Wire.ReadBody(r, buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	if b.File != nil || inFile {
		if err := b.spill(r, buf); err != nil {
			return err
		}
		return nil
	}
	b.Mem, b.Size = buf, int64(len(buf))
	return nil
}

// spill appends a piece to the temporary file, opening it first.
func (b *Body) spill(r *Request, p []byte) error {
	if b.File == nil {
		f, err := r.Scope.Core.TempBody.Create(r)
		if err != nil {
			r.Critf("%s", err)
			return &StatusError{Status: 500}
		}
		b.File, b.Name = f, f.Name()
		if len(r.Body.Mem) == 0 && r.Scope.Core.ClientBodyInFileOnly.V == BodyFileOff {
			r.Warnf("a client request body is buffered to a temporary file %s", b.Name)
		}
		if r.Scope.Core.ClientBodyInFileOnly.V != BodyFileOn {
			os.Remove(b.Name)
		}
	}
	n, err := b.File.Write(p)
	b.Size += int64(n)
	if err != nil {
		r.Critf("write() \"%s\" failed %s", b.Name, err)
		return &StatusError{Status: 500}
	}
	return nil
}
