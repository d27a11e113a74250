package openssl

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"math/big"
	"strings"
	"time"
	"unicode/utf16"
)

// attribute is an AttributeTypeAndValue with the value as it is encoded.
type attribute struct {
	Type  asn1.ObjectIdentifier
	Value asn1.RawValue
}

// rdns parses a distinguished name without interpreting its values; nil when it can't.
func rdns(raw []byte) [][]attribute {
	var seq asn1.RawValue
	if _, err := asn1.Unmarshal(raw, &seq); err != nil {
		return nil
	}
	var names [][]attribute
	for rest := seq.Bytes; len(rest) > 0; {
		var set []attribute
		var err error
		if rest, err = asn1.UnmarshalWithParams(rest, &set, "set"); err != nil {
			return nil
		}
		names = append(names, set)
	}
	return names
}

// DN returns a distinguished name (Certificate.RawSubject, RawIssuer) as $ssl_client_s_dn shows it: RFC 2253.
func DN(raw []byte) string {
	names := rdns(raw)
	var b strings.Builder
	for i := len(names) - 1; i >= 0; i-- {
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		for j := len(names[i]) - 1; j >= 0; j-- {
			a := names[i][j]
			if j < len(names[i])-1 {
				b.WriteByte('+')
			}
			name, known := attributeName(a.Type)
			b.WriteString(name)
			b.WriteByte('=')
			text, isText := stringValue(a.Value)
			if !known || !isText {
				b.WriteString("#" + strings.ToUpper(hex.EncodeToString(a.Value.FullBytes)))
				continue
			}
			escape2253(&b, text)
		}
	}
	return b.String()
}

// escape2253 writes a value with the escapes of RFC 2253 and those of control and non-ASCII bytes.
func escape2253(b *strings.Builder, s string) {
	const digits = "0123456789ABCDEF"
	for i := range len(s) {
		c := s[i]
		switch {
		case strings.IndexByte(`,+"\<>;`, c) >= 0, i == 0 && (c == ' ' || c == '#'), i == len(s)-1 && c == ' ':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < 0x20 || c >= 0x7f:
			b.Write([]byte{'\\', digits[c>>4], digits[c&15]})
		default:
			b.WriteByte(c)
		}
	}
}

// DNLegacy returns a distinguished name as $ssl_client_s_dn_legacy shows it: /C=US/CN=name.
func DNLegacy(raw []byte) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for _, set := range rdns(raw) {
		for _, a := range set {
			name, _ := attributeName(a.Type)
			b.WriteString("/" + name + "=")
			for _, c := range a.Value.Bytes {
				switch {
				case c < ' ' || c > '~':
					b.Write([]byte{'\\', 'x', digits[c>>4], digits[c&15]})
				case c == '/' || c == '+':
					b.Write([]byte{'\\', c})
				default:
					b.WriteByte(c)
				}
			}
		}
	}
	return b.String()
}

// stringValue returns an attribute's value in UTF-8.
func stringValue(v asn1.RawValue) (string, bool) {
	switch v.Tag {
	case asn1.TagUTF8String, asn1.TagPrintableString, asn1.TagIA5String, asn1.TagNumericString:
		return string(v.Bytes), true
	case asn1.TagT61String:
		r := make([]rune, len(v.Bytes))
		for i, c := range v.Bytes {
			r[i] = rune(c)
		}
		return string(r), true
	case asn1.TagBMPString:
		u := make([]uint16, len(v.Bytes)/2)
		for i := range u {
			u[i] = uint16(v.Bytes[2*i])<<8 | uint16(v.Bytes[2*i+1])
		}
		return string(utf16.Decode(u)), true
	}
	return "", false
}

// attributeName returns OpenSSL's short name of an attribute, its number when it has none.
func attributeName(oid asn1.ObjectIdentifier) (name string, known bool) {
	id := oid.String()
	const names = " 2.5.4.3=CN 2.5.4.4=SN 2.5.4.5=serialNumber 2.5.4.6=C 2.5.4.7=L 2.5.4.8=ST 2.5.4.9=street 2.5.4.10=O 2.5.4.11=OU " +
		"2.5.4.12=title 2.5.4.13=description 2.5.4.15=businessCategory 2.5.4.16=postalAddress 2.5.4.17=postalCode " +
		"2.5.4.18=postOfficeBox 2.5.4.20=telephoneNumber 2.5.4.41=name 2.5.4.42=GN 2.5.4.43=initials 2.5.4.44=generationQualifier " +
		"2.5.4.45=x500UniqueIdentifier 2.5.4.46=dnQualifier 2.5.4.65=pseudonym 2.5.4.97=organizationIdentifier " +
		"0.9.2342.19200300.100.1.1=UID 0.9.2342.19200300.100.1.3=mail 0.9.2342.19200300.100.1.25=DC " +
		"1.2.840.113549.1.9.1=emailAddress 1.2.840.113549.1.9.2=unstructuredName 1.3.6.1.4.1.311.60.2.1.1=jurisdictionL " +
		"1.3.6.1.4.1.311.60.2.1.2=jurisdictionST 1.3.6.1.4.1.311.60.2.1.3=jurisdictionC "
	if i := strings.Index(names, " "+id+"="); i >= 0 {
		name, _, _ = strings.Cut(names[i+len(id)+2:], " ")
		return name, true
	}
	return id, false
}

// Serial returns a serial number as $ssl_client_serial shows it.
func Serial(n *big.Int) string {
	s := strings.ToUpper(new(big.Int).Abs(n).Text(16))
	if len(s)%2 == 1 {
		s = "0" + s
	}
	if n.Sign() < 0 {
		s = "-" + s
	}
	return s
}

// Time returns a time as $ssl_client_v_start shows it.
func Time(t time.Time) string { return t.UTC().Format("Jan _2 15:04:05 2006 GMT") }

// MatchesHost reports whether a certificate is for a host or address as X509_check_host and nginx say:
// by its names, or by the common name when it has no DNS name at all.
func MatchesHost(c *x509.Certificate, host string) bool {
	if len(c.DNSNames)+len(c.IPAddresses) > 0 && c.VerifyHostname(host) == nil {
		return true
	}
	if len(c.DNSNames) > 0 {
		return false
	}
	for _, cn := range commonNames(c.Subject) {
		if matchName(cn, host) {
			return true
		}
	}
	return false
}

func commonNames(n pkix.Name) []string {
	var names []string
	for _, a := range n.Names {
		if s, ok := a.Value.(string); ok && a.Type.String() == "2.5.4.3" {
			names = append(names, s)
		}
	}
	return names
}

// matchName compares a name, perhaps with a wildcard as its first label, with a host.
func matchName(pattern, host string) bool {
	if strings.EqualFold(pattern, host) {
		return pattern != ""
	}
	rest, wild := strings.CutPrefix(pattern, "*.")
	_, domain, ok := strings.Cut(host, ".")
	return wild && ok && strings.Contains(rest, ".") && strings.EqualFold(rest, domain)
}
