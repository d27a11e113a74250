package openssl

import (
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
)

// Command is what an SSL_CONF_cmd command changes; zero fields change nothing.
// https://docs.openssl.org/master/man3/SSL_CONF_cmd/
type Command struct {
	Text             string // as written
	Min, Max         uint16
	Protocols        map[uint16]bool // turned on or off
	Ciphers          *Ciphers
	Curves           []tls.CurveID
	Certificate, Key string
	// Tickets turns session tickets on (1) or off (-1).
	Tickets int
}

// ParseCommand reads a command as ssl_conf_command and proxy_ssl_conf_command take it. The error is
// nginx's message; for what crypto/tls can't do it says so.
func ParseCommand(name, value string) (Command, error) {
	c := Command{Text: name + " " + value}
	bad := func(text string) (Command, error) {
		return Command{}, failed(fmt.Sprintf(`SSL_CONF_cmd("%s", "%s")`, name, value), text)
	}
	badValue := fmt.Sprintf("error:0A000180:SSL routines::bad value:cmd=%s, value=%s", name, value)
	switch strings.ToLower(name) {
	case "protocol":
		if c.Protocols = protocols(value); c.Protocols == nil {
			return bad(badValue)
		}
	case "minprotocol", "maxprotocol":
		v := Version(value)
		if v == 0 && value != "None" {
			return bad(badValue)
		}
		if strings.EqualFold(name, "MinProtocol") {
			c.Min = v
		} else {
			c.Max = v
		}
	case "cipherstring":
		cs, err := ParseCiphers(value)
		if err != nil {
			return bad(err.Error() + " " + badValue)
		}
		if cs.None {
			return bad(ErrNoCipher + " " + badValue)
		}
		c.Ciphers = &cs
	case "ciphersuites":
		for _, w := range strings.Split(value, ":") {
			if !strings.HasPrefix(w, "TLS_AES_") && w != "TLS_CHACHA20_POLY1305_SHA256" {
				return bad(ErrNoCipher + " " + badValue)
			}
		}
		return Command{}, unavailable(name, value, "the cipher suites of TLS 1.3 can't be chosen")
	case "curves", "groups":
		ids, _, err := ParseCurves(value)
		if err != nil {
			return bad(err.Error() + " " + badValue)
		}
		c.Curves = ids
	case "certificate":
		c.Certificate = value
	case "privatekey":
		c.Key = value
	case "options":
		return c.options(name, value, badValue)
	case "signaturealgorithms", "clientsignaturealgorithms", "dhparameters", "recordpadding", "numtickets", "verifymode",
		"requestcafile", "chaincafile", "chaincapath", "verifycafile", "verifycapath", "serverinfofile", "clientcafile", "clientcapath":
		return Command{}, unavailable(name, value, "the Go TLS library has no such setting")
	default:
		return bad("error:0A000182:SSL routines::unknown cmd name:cmd=" + name)
	}
	return c, nil
}

func unavailable(name, value, why string) error {
	return fmt.Errorf(`SSL_CONF_cmd("%s", "%s") is not available: %s`, name, value, why)
}

// options reads the command Options. Those that only concern what crypto/tls never does, or always does, change nothing.
func (c Command) options(name, value, badValue string) (Command, error) {
	for _, w := range strings.Split(value, ",") {
		word := strings.TrimSpace(w)
		on := !strings.HasPrefix(word, "-")
		switch word = strings.ToLower(strings.TrimLeft(word, "+-")); word {
		case "sessionticket":
			c.Tickets = 1
			if !on {
				c.Tickets = -1
			}
		case "compression", "emptyfragments", "bugs", "dhsingle", "ecdhsingle", "serverpreference", "noresumptiononrenegotiation",
			"unsafelegacyrenegotiation", "encryptthenmac", "norenegotiation", "allownodhekex", "prioritizechacha", "middleboxcompat",
			"antireplay", "extendedmastersecret", "canames", "ktls", "strictcertcheck", "unsafelegacyserverconnect", "ktlstxzerocopysendfile":
		default:
			return Command{}, failed(fmt.Sprintf(`SSL_CONF_cmd("%s", "%s")`, name, value), badValue)
		}
	}
	return c, nil
}

// protocols reads the value of the command Protocol: what it turns on, and with - off. The others stay as they are.
// It returns nil for a word that OpenSSL doesn't know.
func protocols(value string) map[uint16]bool {
	changes := make(map[uint16]bool)
	for _, w := range strings.Split(value, ",") {
		w = strings.TrimSpace(w)
		on := !strings.HasPrefix(w, "-")
		w = strings.TrimLeft(w, "+-")
		v := Version(w)
		switch {
		case strings.EqualFold(w, "ALL"):
			for v := uint16(tls.VersionTLS10); v <= tls.VersionTLS13; v++ {
				changes[v] = on
			}
		case v != 0:
			changes[v] = on
		case w != "SSLv2" && w != "SSLv3":
			return nil
		}
	}
	return changes
}

// Range returns the lowest and the highest of a set of protocols. crypto/tls can't leave one out between them:
// that is an error, as is the empty set.
func Range(on map[uint16]bool) (min, max uint16, err error) {
	for v := uint16(tls.VersionTLS10); v <= tls.VersionTLS13; v++ {
		if !on[v] {
			continue
		}
		if min == 0 {
			min = v
		} else if v != max+1 {
			return 0, 0, errors.New("no protocol can be left out between two others")
		}
		max = v
	}
	if min == 0 {
		return 0, 0, errors.New("no protocol is left: SSLv2 and SSLv3 are not available")
	}
	return min, max, nil
}
