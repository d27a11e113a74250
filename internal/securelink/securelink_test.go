package securelink

import (
	"testing"
	"time"

	"limpet/nginxconf"
)

// The form is that of https://nginx.org/en/docs/http/ngx_http_secure_link_module.html#secure_link_secret
func TestHashInThePath(t *testing.T) {
	for _, c := range []struct {
		path, link string
		ok         bool
	}{
		{"/p/c23f5d3ba2d7c3e21a5ba3af9f3d3e0f/link", "", false},
		{"/p/8e7e1ccc3b3c3ab6e0ac07a7b5f3b0f9/link/x", "", false},
		{"/p/" + md5hex + "/link", "link", true},
		{"/p/" + md5upper + "/link", "link", true},
		{"/p/" + md5hex + "/Link", "", false},
		{"/p/" + md5hex + "/", "", false},
		{"/p/" + md5hex, "", false},
		{"/p/zz" + md5hex[2:] + "/link", "", false},
		{"/p", "", false},
		{"", "", false},
	} {
		link, ok := inPath([]byte(c.path), "secret")
		if ok != c.ok || ok && string(link) != c.link {
			t.Errorf("%s: %q, %v", c.path, link, ok)
		}
	}
}

// md5hex is `printf linksecret | md5sum`.
const (
	md5hex   = "5e814704a28d9bc1914ff19fa0c4a00a"
	md5upper = "5E814704A28D9BC1914FF19FA0C4A00A"
)

// The hash is that of nginx's documentation:
// echo -n '2147483647/s/link127.0.0.1 secret' | openssl md5 -binary | openssl base64 | tr +/ -_ | tr -d =
func TestHashAndExpiry(t *testing.T) {
	const hash, text = "_e4Nc3iduzkWRm01TBBNYw", "2147483647/s/link127.0.0.1 secret"
	for _, c := range []struct {
		value        string
		now          int64
		valid, fresh bool
	}{
		{hash, 0, true, true},
		{hash + "==", 0, true, true},
		{hash + ",2147483647", 2147483647, true, true},
		{hash + ",2147483647", 2147483648, true, false},
		{hash + ",0", 0, false, false},
		{hash + ",", 0, false, false},
		{hash + ",x", 0, false, false},
		{hash + "===", 0, false, false},
		{"", 0, false, false},
		{"X" + hash[1:], 0, false, false},
		{hash[:21], 0, false, false},
		{"_e4Nc3iduzkWRm01TBBNYw+/", 0, false, false},
	} {
		valid, fresh := check([]byte(c.value), []byte(text), time.Unix(c.now, 0))
		if valid != c.valid || fresh != c.fresh {
			t.Errorf("%s at %d: %v, %v", c.value, c.now, valid, fresh)
		}
	}
}

func TestTheTwoFormsDontMix(t *testing.T) {
	c := new(Conf)
	c.Secret.Put("x")
	c.MD5.Put(c.MD5.V)
	err := c.Check(new(nginxconf.Level))
	if err == nil || err.Error() != `"secure_link_secret" cannot be mixed with "secure_link" and "secure_link_md5"` {
		t.Errorf("got %v", err)
	}
}
