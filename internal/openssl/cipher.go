package openssl

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// suite is a row of cipherTable.
type suite struct {
	id                            uint16
	name, proto, kx, au, enc, mac string
	bits                          int
}

// ciphers returns the rows of cipherTable in its order, which is OpenSSL's order of strength.
func ciphers() []suite {
	var all []suite
	for line := range strings.Lines(cipherTable) {
		f := strings.Fields(line)
		if len(f) != 8 {
			continue
		}
		id, _ := strconv.ParseUint(f[0], 16, 16)
		bits, _ := strconv.Atoi(f[6])
		all = append(all, suite{id: uint16(id), name: f[1], proto: f[2], kx: f[3], au: f[4], enc: f[5], bits: bits, mac: f[7]})
	}
	return all
}

// CipherName returns OpenSSL's name of a cipher suite, "" for one that it doesn't know.
func CipherName(id uint16) string {
	const hex = "0123456789ABCDEF"
	key := string([]byte{'\n', hex[id>>12], hex[id>>8&15], hex[id>>4&15], hex[id&15], ' '})
	i := strings.Index(cipherTable, key)
	if i < 0 {
		return ""
	}
	name, _, _ := strings.Cut(cipherTable[i+len(key):], " ")
	return name
}

// Ciphers is what a cipher string comes to.
type Ciphers struct {
	// Suites are those that crypto/tls has, for tls.Config.CipherSuites: never nil.
	Suites []uint16
	// Missing are ciphers that the string names one by one and crypto/tls doesn't have.
	Missing []string
	// None says that the string selects nothing even in OpenSSL: "no cipher match".
	None bool
}

// ErrNoCipher is OpenSSL's text for a cipher string that selects nothing.
const ErrNoCipher = "error:0A0000B9:SSL routines::no cipher match"

// ParseCiphers evaluates a cipher string for TLS up to 1.2. Unknown words select nothing, as in
// OpenSSL; a word that OpenSSL doesn't parse at all is an error.
func ParseCiphers(text string) (Ciphers, error) {
	chosen, missing, err := choose(text)
	if err != nil {
		return Ciphers{}, err
	}
	c := Ciphers{Suites: []uint16{}, Missing: missing, None: len(chosen) == 0}
	for _, x := range chosen {
		if available(x.id) {
			c.Suites = append(c.Suites, x.id)
		}
	}
	return c, nil
}

// choose returns all that a cipher string selects, and what of it that is named one by one crypto/tls doesn't have.
func choose(text string) (chosen []suite, missing []string, err error) {
	all := slices.DeleteFunc(ciphers(), func(c suite) bool { return c.proto == "TLSv1.3" })
	killed := make(map[uint16]bool)
	for _, word := range strings.FieldsFunc(text, func(r rune) bool { return r == ':' || r == ' ' || r == ',' || r == ';' }) {
		op := word[0]
		if op == '!' || op == '-' || op == '+' {
			word = word[1:]
		}
		if strings.HasPrefix(word, "@") {
			if word != "@STRENGTH" && !strings.HasPrefix(word, "@SECLEVEL=") {
				return nil, nil, fmt.Errorf("error:0A000118:SSL routines::invalid command")
			}
			continue
		}
		match := selector(word)
		switch op {
		case '!':
			for _, x := range all {
				killed[x.id] = killed[x.id] || match(x)
			}
			chosen = slices.DeleteFunc(chosen, match)
		case '-':
			chosen = slices.DeleteFunc(chosen, match)
		case '+': // to the end of the list: the order isn't ours
		default:
			for _, x := range all {
				if match(x) && !killed[x.id] && !slices.Contains(chosen, x) {
					chosen = append(chosen, x)
				}
			}
			if isCipher(all, word) && !available(idOf(all, word)) {
				missing = append(missing, word)
			}
		}
	}
	return chosen, missing, nil
}

func idOf(all []suite, name string) uint16 {
	for _, c := range all {
		if c.name == name {
			return c.id
		}
	}
	return 0
}

func isCipher(all []suite, name string) bool { return idOf(all, name) != 0 }

// available reports whether crypto/tls has a suite up to TLS 1.2.
func available(id uint16) bool {
	for _, list := range [][]*tls.CipherSuite{tls.CipherSuites(), tls.InsecureCipherSuites()} {
		for _, s := range list {
			if s.ID == id && s.SupportedVersions[0] != tls.VersionTLS13 {
				return true
			}
		}
	}
	return false
}

// selector returns what a word of a cipher string selects; words joined by + must all hold.
func selector(word string) func(suite) bool {
	parts := strings.Split(word, "+")
	return func(c suite) bool {
		for _, p := range parts {
			if !c.is(p) {
				return false
			}
		}
		return true
	}
}

// is reports whether a cipher belongs to a group of openssl-ciphers(1), or has the name.
func (c suite) is(word string) bool {
	null, anon := c.enc == "None", c.au == "None"
	switch word {
	case c.name:
		return true
	case "ALL":
		return !null
	case "COMPLEMENTOFALL", "eNULL", "NULL":
		return null
	case "DEFAULT":
		return !null && !anon && c.au != "DSS" && !strings.HasPrefix(c.enc, "AESCCM") && c.enc != "Camellia" && c.enc != "ARIAGCM"
	case "COMPLEMENTOFDEFAULT":
		return !null && !c.is("DEFAULT")
	case "HIGH":
		return !null
	case "aNULL":
		return anon
	case "FIPS":
		return !null && strings.HasPrefix(c.enc, "AES")
	}
	return c.isKey(word) || c.isCoding(word)
}

// isKey tells the groups of key exchange and authentication.
func (c suite) isKey(word string) bool {
	switch word {
	case "kRSA":
		return c.kx == "RSA"
	case "RSA":
		return c.kx == "RSA" || c.au == "RSA"
	case "aRSA":
		return c.au == "RSA"
	case "kDHE", "kEDH":
		return c.kx == "DH"
	case "DHE", "EDH":
		return c.kx == "DH" && c.au != "None"
	case "DH":
		return c.kx == "DH"
	case "ADH":
		return c.kx == "DH" && c.au == "None"
	case "kECDHE", "kEECDH":
		return c.kx == "ECDH"
	case "ECDHE", "EECDH":
		return c.kx == "ECDH" && c.au != "None"
	case "ECDH":
		return c.kx == "ECDH"
	case "AECDH":
		return c.kx == "ECDH" && c.au == "None"
	case "aECDSA", "ECDSA":
		return c.au == "ECDSA"
	case "aDSS", "DSS":
		return c.au == "DSS"
	case "PSK":
		return strings.HasSuffix(c.kx, "PSK") || c.au == "PSK"
	case "aPSK":
		return c.au == "PSK"
	case "kPSK", "kRSAPSK", "kECDHEPSK", "kDHEPSK":
		return "k"+c.kx == word
	case "SRP", "kSRP":
		return c.kx == "SRP"
	case "aSRP":
		return c.kx == "SRP" && c.au == "SRP"
	}
	return false
}

// isCoding tells the groups of encryption, MAC and protocol.
func (c suite) isCoding(word string) bool {
	aes := strings.HasPrefix(c.enc, "AES")
	switch word {
	case "AES":
		return aes
	case "AES128":
		return aes && c.bits == 128
	case "AES256":
		return aes && c.bits == 256
	case "AESGCM":
		return c.enc == "AESGCM"
	case "AESCCM":
		return c.enc == "AESCCM" || c.enc == "AESCCM8"
	case "AESCCM8":
		return c.enc == "AESCCM8"
	case "CHACHA20":
		return strings.HasPrefix(c.enc, "CHACHA20")
	case "CAMELLIA":
		return c.enc == "Camellia"
	case "CAMELLIA128":
		return c.enc == "Camellia" && c.bits == 128
	case "CAMELLIA256":
		return c.enc == "Camellia" && c.bits == 256
	case "ARIA":
		return c.enc == "ARIAGCM"
	case "ARIA128":
		return c.enc == "ARIAGCM" && c.bits == 128
	case "ARIA256":
		return c.enc == "ARIAGCM" && c.bits == 256
	case "CBC":
		return c.enc == "AES" || c.enc == "Camellia"
	case "MD5", "SHA256", "SHA384":
		return c.mac == word
	case "SHA", "SHA1":
		return c.mac == "SHA1"
	case "SSLv3", "TLSv1.2":
		return c.proto == word
	case "TLSv1", "TLSv1.0":
		return c.proto == "TLSv1"
	}
	return false
}

// Version returns the protocol's number in crypto/tls of a word of ssl_protocols; 0 for SSLv2 and SSLv3.
func Version(word string) uint16 {
	switch word {
	case "TLSv1":
		return tls.VersionTLS10
	case "TLSv1.1":
		return tls.VersionTLS11
	case "TLSv1.2":
		return tls.VersionTLS12
	case "TLSv1.3":
		return tls.VersionTLS13
	}
	return 0
}

// VersionName returns OpenSSL's name of a protocol.
func VersionName(v uint16) string {
	switch v {
	case tls.VersionTLS10:
		return "TLSv1"
	case tls.VersionTLS11:
		return "TLSv1.1"
	case tls.VersionTLS12:
		return "TLSv1.2"
	case tls.VersionTLS13:
		return "TLSv1.3"
	}
	return "unknown"
}

// curve is a group for key exchange by its names.
type curve struct {
	id    tls.CurveID
	name  string // as $ssl_curve shows it
	alias string // as configurations write it, too
}

// curves are the groups of crypto/tls.
func curves() [7]curve {
	return [...]curve{
		{tls.CurveP256, "prime256v1", "P-256"},
		{tls.CurveP384, "secp384r1", "P-384"},
		{tls.CurveP521, "secp521r1", "P-521"},
		{tls.X25519, "X25519", "X25519"},
		{tls.X25519MLKEM768, "X25519MLKEM768", "X25519MLKEM768"},
		{tls.SecP256r1MLKEM768, "SecP256r1MLKEM768", "SecP256r1MLKEM768"},
		{tls.SecP384r1MLKEM1024, "SecP384r1MLKEM1024", "SecP384r1MLKEM1024"},
	}
}

// otherCurves are groups that OpenSSL knows and crypto/tls doesn't have, with their numbers.
const otherCurves = " secp224r1=21 P-224=21 secp256k1=22 brainpoolP256r1=26 brainpoolP384r1=27 brainpoolP512r1=28 X448=30 " +
	"ffdhe2048=256 ffdhe3072=257 ffdhe4096=258 ffdhe6144=259 ffdhe8192=260 "

// CurveName returns the name of a group as $ssl_curve shows it, "" for an unknown one.
func CurveName(id tls.CurveID) string {
	for _, c := range curves() {
		if c.id == id {
			return c.name
		}
	}
	for _, w := range strings.Fields(otherCurves) {
		if name, n, _ := strings.Cut(w, "="); n == strconv.Itoa(int(id)) {
			return name
		}
	}
	return ""
}

// ParseCurves reads the value of ssl_ecdh_curve; "auto" gives nil, crypto/tls's own choice. Missing are
// those that OpenSSL knows and crypto/tls doesn't have; the error's text is OpenSSL's.
func ParseCurves(text string) (ids []tls.CurveID, missing []string, err error) {
	if text == "auto" {
		return nil, nil, nil
	}
	for _, name := range strings.Split(text, ":") {
		optional := strings.HasPrefix(name, "?")
		id, known := curveByName(strings.TrimPrefix(name, "?"))
		switch {
		case id != 0:
			ids = append(ids, id)
		case known:
			missing = append(missing, name)
		case !optional:
			return nil, nil, fmt.Errorf("error:0A080106:SSL routines::passed invalid argument:group '%s' cannot be set", name)
		}
	}
	return ids, missing, nil
}

func curveByName(name string) (id tls.CurveID, known bool) {
	for _, c := range curves() {
		if strings.EqualFold(name, c.name) || strings.EqualFold(name, c.alias) || c.id == tls.CurveP256 && name == "secp256r1" {
			return c.id, true
		}
	}
	return 0, strings.Contains(otherCurves, " "+name+"=")
}
