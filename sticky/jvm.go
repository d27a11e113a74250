package sticky

import (
	"bytes"
	"fmt"
	"strings"

	"limpet/internal/ngx"
	conf "limpet/nginxconf"
	"limpet/upstream"
)

// parseJVM reads jvm_route $cookie_NAME[|URL_PARAMETER] [reverse].
// https://github.com/yaoweibin/nginx_upstream_jvm_route
func parseJVM(s *conf.Setting) error {
	if upstream.HasSticky(s) {
		return conf.ErrDuplicate
	}
	cookie, param, _ := strings.Cut(s.Arg(0), "|")
	if !strings.HasPrefix(cookie, "$") {
		return fmt.Errorf(`invalid variable name "%s"`, cookie)
	}
	t, err := ngx.ParseText(s, cookie)
	if err != nil {
		return err
	}
	base := jvmReader{cookie: t, param: []byte(param), none: newWishes()}
	if len(s.Args) == 2 {
		if s.Arg(1) != "reverse" {
			return fmt.Errorf(`invalid parameter "%s"`, s.Arg(1))
		}
		base.reverse = true
	}
	sticks(s, func(b *ngx.Build, g *upstream.Group) (maker, error) {
		policy := newPolicy(b, g, s, "jvm_route")
		if len(base.of(g.Peers()).ids) == 0 {
			policy.note(b, `upstream "%s": no server has srun_id, so that jvm_route never finds one`, g.Name)
		}
		return func(ps *upstream.Peers) *Policy {
			p := policy.with(ps)
			p.read = base.of(ps)
			return p
		}, nil
	})
	return nil
}

// of returns the reader for some peers.
func (j jvmReader) of(ps *upstream.Peers) *jvmReader {
	for _, q := range ps.Ordered() {
		if q.SrunID != "" {
			j.add(q)
		}
	}
	return &j
}

// jvmReader finds the peer whose srun_id a session ID begins with, or ends with
// under reverse (Tomcat writes ID.srun_id). The ID comes in a cookie or, without
// one, as ;NAME=ID in the URI.
type jvmReader struct {
	cookie  ngx.Text
	param   []byte
	reverse bool
	ids     []string
	wishes  []wish
	none    wishes
}

func (j *jvmReader) add(q *upstream.Peer) {
	for i, id := range j.ids {
		if id == q.SrunID {
			j.wishes[i].peers = append(j.wishes[i].peers, q)
			return
		}
	}
	j.ids = append(j.ids, q.SrunID)
	j.wishes = append(j.wishes, wish{peers: []*upstream.Peer{q}, reason: Valid, fresh: true})
}

// wish implements reader.
func (j *jvmReader) wish(s *upstream.Session) (*wish, Spelling) {
	id := j.cookie.Bytes(s.Request)
	if len(id) == 0 {
		id = j.fromURI(s.Request.URI)
	}
	if len(id) == 0 {
		return &j.none.noCookie, NumSpellings
	}
	best := -1
	for i, srun := range j.ids {
		if j.has(id, srun) && (best < 0 || len(srun) > len(j.ids[best])) {
			best = i
		}
	}
	if best < 0 {
		return &j.none.unknown, NumSpellings
	}
	return &j.wishes[best], Route
}

func (j *jvmReader) has(id []byte, srun string) bool {
	if len(id) < len(srun) {
		return false
	}
	if j.reverse {
		return string(id[len(id)-len(srun):]) == srun
	}
	return string(id[:len(srun)]) == srun
}

// fromURI returns the value of the path parameter, which ends at ; or ?.
func (j *jvmReader) fromURI(uri []byte) []byte {
	if len(j.param) == 0 {
		return nil
	}
	for {
		i := bytes.IndexByte(uri, ';')
		if i < 0 {
			return nil
		}
		uri = uri[i+1:]
		if bytes.HasPrefix(uri, j.param) && len(uri) > len(j.param) && uri[len(j.param)] == '=' {
			v := uri[len(j.param)+1:]
			if end := bytes.IndexAny(v, ";?"); end >= 0 {
				v = v[:end]
			}
			return v
		}
	}
}
