package headersmore

import (
	"limpet/internal/ngx"
	"limpet/nginxconf"
)

// inStep changes the header of requests; nil where there are no rules.
func inStep(rules []rule) ngx.Step {
	if len(rules) == 0 {
		return nil
	}
	return func(r *ngx.Request) ngx.Outcome {
		for i := range rules {
			ru := &rules[i]
			if len(ru.types) > 0 && !has(ru.types, r.In.Get(ngx.HeaderContentType)) {
				continue
			}
			for j := range ru.fields {
				if out := ru.fields[j].setIn(r, ru.replace); out != ngx.Next {
					return out
				}
			}
		}
		return ngx.Next
	}
}

// setIn sets a field of the request, and what depends on it.
func (f *field) setIn(r *ngx.Request, replace bool) ngx.Outcome {
	if replace && !f.isIn(&r.In) {
		return ngx.Next
	}
	value := f.value.Bytes(r)
	if !f.prefix {
		out := ngx.Next
		switch f.id {
		case ngx.HeaderHost:
			out = setHost(r, value)
		case ngx.HeaderContentLength:
			out = setBody(r, value)
		}
		if out != ngx.Next {
			return out
		}
	}
	put(&r.In, f, value)
	return ngx.Next
}

func (f *field) isIn(h *ngx.Header) bool {
	for i := range h.Fields {
		if have := &h.Fields[i]; !have.Hidden && f.means(have) {
			return true
		}
	}
	return false
}

// setHost makes a host $host. One that isn't valid is refused as the client's would be.
func setHost(r *ngx.Request, value []byte) ngx.Outcome {
	if len(value) == 0 {
		r.Host = nil
		return ngx.Next
	}
	host, ok := ngx.ValidHost(r.Alloc(len(value))[:0], value)
	if !ok {
		r.Infof("more_set_input_headers set an invalid host \"%s\"", value)
		return ngx.Status(400)
	}
	r.Host = host
	return ngx.Next
}

// setBody makes the request's body as long as Content-Length says: whoever passes the request on must not send more
// behind a head that promises less. The connection goes on behind the body that the client sent.
func setBody(r *ngx.Request, value []byte) ngx.Outcome {
	if len(value) == 0 {
		r.Length, r.Chunked = -1, false
		return ngx.Next
	}
	num, ok := nginxconf.ParseNum(string(value))
	if !ok {
		r.Infof("more_set_input_headers set an invalid Content-Length \"%s\"", value)
		return ngx.Status(400)
	}
	n := int64(num)
	if !r.IsMain() || n == 0 || n == r.Length {
		r.Length, r.Chunked = n, false
		return ngx.Next
	}
	if out := r.ReadAll(); out != ngx.Next {
		return out
	}
	b := &r.Body
	if b.Size < n {
		r.Infof("more_set_input_headers set a Content-Length of %d for a body of %d bytes", n, b.Size)
		return ngx.Status(400)
	}
	if err := cut(b, n); err != nil {
		r.Critf("%s", err)
		return ngx.Status(500)
	}
	r.Length, r.Chunked = n, false
	return ngx.Next
}

// cut shortens a body that was read.
func cut(b *ngx.Body, n int64) error {
	b.Size = n
	if b.File == nil {
		b.Mem = b.Mem[:n]
		return nil
	}
	return b.File.Truncate(n)
}
