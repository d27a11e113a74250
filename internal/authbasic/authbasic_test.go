package authbasic

import (
	"encoding/base64"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"limpet/internal/ngx"
)

// The hashes are glibc's crypt(3) and, of apr1, OpenSSL's.
func TestPasswordForms(t *testing.T) {
	for _, c := range []struct{ stored, password string }{
		{"{PLAIN}password", "password"},
		{"{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "password"},
		{"{SSHA}yI6cZwQadOA1e+/f+T+H3eCQQhRzYWx0", "password"},
		{"$apr1$salt$Xxd1irWT9ycqoYxGFn4cb.", "password"},
		{"$1$salt$qJH7.N4xYta3aEG/dfqo/0", "password"},
		{"$5$salt$Gcm6FsVtF/Qa77ZKD.iwsJlCVPY0XSMgLJL0Hnww/c1", "password"},
		{"$6$rounds=5000$salt$IxDD3jeSOb5eB1CX5LBsqZFVkJdido3OUILO5Ifz5iwMuTS4XMS130MTSuDDl3aCI6WouIL9AjRbLCelDCy.g.", "password"},
		{"$2y$05$abcdefghijklmnopqrstuuWG29KuyeAicPCJODk1zjyGvyQUU2awu", "password"},
		{"sa3tHJ3/KuYvI", "password"},
		{"abmF1QH4PEr.E", ""},
		{"./yPRzyX/WeSM", "longer than eight"},
		{"zzdx9gSO/.b3I", "\xe4\xf6"},
	} {
		if ok, known := matches(c.stored, []byte(c.password)); !ok || !known {
			t.Errorf("%s: %v, %v", c.stored, ok, known)
		}
		if ok, known := matches(c.stored, []byte("x"+c.password)); ok || !known {
			t.Errorf("%s takes a wrong password, or isn't known", c.stored)
		}
	}
}

func TestBrokenPasswordsLetNobodyIn(t *testing.T) {
	for _, stored := range []string{"", "$1$", "$apr1$", "$5$", "$6$", "$2y$", "{SSHA}_____wQadOA1e+/f+T+H3eCQQhRzYWx0", "{SSHA}Zm9vCg==",
		"{SHA}_____Mm5Pz8GgiULbPgzG37mj9g=", "{SHA}", "{SSHA}", "password", "$y$j9T$x$y", "sa3tHJ3/KuYv!"} {
		for _, password := range []string{"", "1", "password", "foo"} {
			if ok, _ := matches(stored, []byte(password)); ok {
				t.Errorf("%q takes %q", stored, password)
			}
		}
	}
}

func TestUsersAreFoundByTheWholeName(t *testing.T) {
	file := "#u:hidden\nuser1:a\r\nuser:b:comment\n:empty\nuser:second\nlast:end"
	for name, want := range map[string]string{"user": "b", "user1": "a", "last": "end", "use": "-", "#u": "-", "": "empty", "none": "-"} {
		got := "-"
		if b := find([]byte(file), []byte(name)); b != nil {
			got = string(b)
		}
		if got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

func TestOutcomes(t *testing.T) {
	file := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(file, []byte("u:{PLAIN}p\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		realm, file, auth string
		want              ngx.Outcome
		challenge         string
	}{
		{"closed site", file, "u:p", ngx.OK, ""},
		{"closed site", file, "u:x", 401, `Basic realm="closed site"`},
		{"closed site", file, "v:p", 401, `Basic realm="closed site"`},
		{"closed site", file, "", 401, `Basic realm="closed site"`},
		{"closed site", file + ".none", "u:p", 403, ""},
		{"closed site", filepath.Dir(file), "u:p", 500, ""},
	} {
		conf := new(Conf)
		conf.Realm.Put(ngx.Literal(c.realm))
		conf.UserFile.Put(ngx.Literal(c.file))
		r := &ngx.Request{Client: &ngx.Client{Addr: netip.MustParseAddrPort("192.0.2.1:1")}, Scope: &ngx.Scope{Core: new(ngx.Core)}}
		r.Main = r
		if c.auth != "" {
			r.In.AddID(ngx.HeaderAuthorization, []byte("Basic "+base64.StdEncoding.EncodeToString([]byte(c.auth))))
		}
		if got := step(conf)(r); got != c.want {
			t.Errorf("%s, %s: %d, want %d", c.auth, c.file, got, c.want)
		}
		if got := string(r.Out.Header.Get(ngx.HeaderWWWAuthenticate)); got != c.challenge {
			t.Errorf("%s: %q, want %q", c.auth, got, c.challenge)
		}
	}
}

func TestOffHasNoStep(t *testing.T) {
	conf := new(Conf)
	conf.Realm.Put(ngx.Literal("off"))
	conf.UserFile.Put(ngx.Literal("/x"))
	if step(conf) != nil {
		t.Error("a step though off")
	}
}

func FuzzMatches(f *testing.F) {
	f.Add("$apr1$salt$Xxd1irWT9ycqoYxGFn4cb.", "password")
	f.Add("{SSHA}Zm9vCg==", "x")
	f.Fuzz(func(t *testing.T, stored, password string) {
		if len(stored) > 3 && (stored[:3] == "$2a" || stored[:3] == "$2b" || stored[:3] == "$2y" || stored[:3] == "$5$" || stored[:3] == "$6$") {
			return // costs that the input sets
		}
		matches(stored, []byte(password))
	})
}
