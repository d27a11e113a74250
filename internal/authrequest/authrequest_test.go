package authrequest

import (
	"testing"

	"limpet/internal/ngx"
)

// engine answers subrequests with a status and a header.
type engine struct {
	ngx.Engine
	status int
	head   func(sub *ngx.Request)
	path   string
}

func (e *engine) Subrequest(sub *ngx.Request, _ ngx.Sink) int {
	e.path = string(sub.Path)
	if e.head != nil {
		e.head(sub)
	}
	return e.status
}

func request(e *engine) *ngx.Request {
	s := &ngx.Scope{Core: new(ngx.Core)}
	s.Server = s
	r := &ngx.Request{Engine: e, Scope: s, Client: new(ngx.Client), Method: []byte("POST")}
	r.Main = r
	return r
}

func TestTheSubrequestsStatusDecides(t *testing.T) {
	for status, want := range map[int]ngx.Outcome{200: ngx.OK, 204: ngx.OK, 299: ngx.OK, 401: 401, 403: 403, 300: 500, 404: 500, 500: 500, 0: 500} {
		e := &engine{status: status}
		if got := step("/auth", nil)(request(e)); got != want || e.path != "/auth" {
			t.Errorf("%d of %s: %d, want %d", status, e.path, got, want)
		}
	}
}

func TestChallengeIsTakenOver(t *testing.T) {
	add := func(h *ngx.Header, values ...string) {
		for _, v := range values {
			h.AddID(ngx.HeaderWWWAuthenticate, []byte(v))
		}
	}
	r := request(&engine{status: 401, head: func(sub *ngx.Request) { add(&sub.Out.Header, "a", "b"); add(&sub.UpHead, "c") }})
	step("/auth", nil)(r)
	if v, _ := r.Out.Header.AppendJoined(nil, "www_authenticate", "|", false); string(v) != "a|b" {
		t.Errorf("got %s", v)
	}
	r = request(&engine{status: 401, head: func(sub *ngx.Request) { add(&sub.UpHead, "c") }})
	step("/auth", nil)(r)
	if v, _ := r.Out.Header.AppendJoined(nil, "www_authenticate", "|", false); string(v) != "c" {
		t.Errorf("got %s", v)
	}
}

func TestVariablesAreSetFromTheSubrequestWhateverItsStatus(t *testing.T) {
	vs := ngx.NewVars([]ngx.Variable{{Name: "who", Get: func(r *ngx.Request, b []byte) ([]byte, bool) {
		return append(b, r.Method...), true
	}}})
	v, err := vs.Settable("set")
	if err != nil {
		t.Fatal(err)
	}
	text, err := ngx.CompileText(vs, "<$who>")
	if err != nil {
		t.Fatal(err)
	}
	for _, status := range []int{200, 403} {
		r := request(&engine{status: status})
		step("/auth", []assignment{{v, text}})(r)
		if got, _ := v.Append(r, nil); string(got) != "<GET>" {
			t.Errorf("%d: %s", status, got)
		}
	}
}

func TestOffHasNoStep(t *testing.T) {
	if step("", nil) != nil {
		t.Error("a step though off")
	}
}
