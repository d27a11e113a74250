package referer

import (
	"strings"
	"testing"

	"limpet/internal/ngx"
	"limpet/internal/rx"
	"limpet/nginxconf"
)

// server stands for the level of a server.
type server struct {
	names    []string
	patterns []*rx.Regexp
}

func (s server) ServerNames() ([]string, []*rx.Regexp) { return s.names, s.patterns }

// load reads statements inside a server of the names a.example and ~^re\d$ and returns the Conf of its last block.
func load(statements string) (*Conf, error) {
	re, err := rx.Compile(`^re\d$`, 0)
	if err != nil {
		return nil, err
	}
	block := func(name string, in, inner nginxconf.Context) nginxconf.Directive {
		return nginxconf.Block(name, in, inner, nginxconf.AnyArgs, func(s *nginxconf.Setting) error {
			s.Inner.Data = server{[]string{"a.example"}, []*rx.Regexp{re}}
			return nil
		}, nil, name)
	}
	config, err := nginxconf.Load("nginx.conf", nginxconf.Options{
		Modules: []nginxconf.Module{
			{Name: "blocks", Conf: func() nginxconf.Settings {
				return blocks{block("http", nginxconf.Main, nginxconf.HTTP), block("server", nginxconf.HTTP, nginxconf.Server), block("location", nginxconf.Server, nginxconf.Location)}
			}},
			{Name: "referer", Conf: Module().Conf},
		},
		ReadFile: func(string) ([]byte, error) { return []byte("http { server {\n" + statements + "\n} }\n"), nil },
	})
	if err != nil {
		return nil, err
	}
	lv := config.Root
	for len(lv.Inner) > 0 {
		lv = lv.Inner[len(lv.Inner)-1]
	}
	return nginxconf.Of[*Conf](lv), nil
}

// blocks are the blocks that the directives stand in.
type blocks []nginxconf.Directive

func (b blocks) Directives() []nginxconf.Directive { return b }

// https://nginx.org/en/docs/http/ngx_http_referer_module.html#valid_referers
func TestValidReferers(t *testing.T) {
	for _, c := range []struct{ conf, valid, invalid string }{
		{"none www.a.com", "- http://www.a.com/x https://WWW.A.COM:8080", "http://a.com/xx http://www.a.com.b.com ftp://www.a.com blocked"},
		{"blocked www.a.com", "http://www.a.com a blocked ftp://www.a.com", "- http://b.com/xxx"},
		{"*.a.com", "http://x.a.com http://x.y.a.com", "http://a.com/xx http://xa.com/x -"},
		{".a.com", "http://a.com/xx http://x.a.com", "http://xa.com/x"},
		{"www.a.*", "http://www.a.com http://www.a.co.uk", "http://a.com/xx http://x.www.a.com"},
		{"www.a.com/up", "http://www.a.com/up http://www.a.com:80/upper", "http://www.a.com/ http://www.a.com/UP http://www.a.com"},
		{`~\.google\.`, "http://www.google.com/x http://x/.Google.", "http://google.com/x"},
		{"server_names", "http://a.example/x http://re1/xxxxxx", "http://b.example http://re11/xxxx"},
	} {
		conf, err := load("valid_referers " + c.conf + ";")
		if err != nil {
			t.Fatal(err)
		}
		check := func(referers string, want bool) {
			t.Helper()
			for ref := range strings.FieldsSeq(referers) {
				r := &ngx.Request{}
				if ref != "-" {
					r.In.AddID(ngx.HeaderReferer, []byte(ref))
				}
				if conf.valid(r) != want {
					t.Errorf("%s: %s is %v, want %v", c.conf, ref, !want, want)
				}
			}
		}
		check(c.valid, true)
		check(c.invalid, false)
	}
}

func TestWithoutTheDirectiveAllAreValid(t *testing.T) {
	if !new(Conf).valid(&ngx.Request{}) {
		t.Error("invalid")
	}
}

func TestInnerLevelsInherit(t *testing.T) {
	conf, err := load("valid_referers server_names; location / { referer_hash_max_size 1024; }")
	if err != nil {
		t.Fatal(err)
	}
	r := &ngx.Request{}
	r.In.AddID(ngx.HeaderReferer, []byte("http://a.example/"))
	if !conf.valid(r) {
		t.Error("the server's names aren't inherited")
	}
}

// The messages are those of nginx 1.22.1.
func TestWrongDirectives(t *testing.T) {
	for _, c := range []struct{ conf, want string }{
		{`valid_referers "~";`, `empty regex in "~"`},
		{`valid_referers a a;`, `conflicting parameter "a"`},
		{`valid_referers a a/b;`, `conflicting parameter "a"`},
		{`valid_referers .a a;`, `conflicting parameter "a"`},
		{`valid_referers *.a .a;`, `conflicting parameter ".a"`},
		{`valid_referers a.example server_names;`, `conflicting parameter "a.example"`},
		{`valid_referers *;`, `invalid hostname or wildcard "*"`},
		{`valid_referers *.a.*;`, `invalid hostname or wildcard "*.a.*"`},
		{`valid_referers a. b..c;`, `invalid hostname or wildcard "b..c"`},
		{`valid_referers a*;`, `invalid hostname or wildcard "a*"`},
		{`valid_referers "";`, `invalid referer ""`},
		{`valid_referers none;`, `the "none" or "blocked" referers are specified in the "valid_referers" directive without any valid referer`},
		{`valid_referers none "~x";`, `the "none" or "blocked" referers are specified in the "valid_referers" directive without any valid referer`},
		{`referer_hash_bucket_size x;`, `"referer_hash_bucket_size" directive invalid number`},
	} {
		_, err := load(c.conf)
		if err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s\n got %v\nwant %s", c.conf, err, c.want)
		}
	}
}
