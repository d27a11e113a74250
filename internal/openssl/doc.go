// Package openssl maps what OpenSSL names, and how it words its errors, to
// crypto/tls: cipher strings, curves, keys and certificates in PEM files,
// verification results, distinguished names, SSL_CONF_cmd commands.
//
// nginx configurations and the people who read its logs speak OpenSSL's
// language; the texts are those of OpenSSL 3.0.
// https://docs.openssl.org/master/man1/openssl-ciphers/
// https://docs.openssl.org/master/man3/SSL_CONF_cmd/
//
// Not done: what crypto/tls has no algorithm for (finite-field Diffie-Hellman,
// PSK, SRP, DSS, CCM, Camellia, ARIA), engines, SSLv2 and SSLv3.
package openssl
