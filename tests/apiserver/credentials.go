package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// credentials is a folder of PEM files, each made once:
//
//	ca.crt, ca.key               signs the two below
//	server.crt, server.key       shown by the API server
//	admin.crt, admin.key         a client of the group system:masters
//	service-account.key          signs the tokens of service accounts
type credentials struct {
	dir string
}

func (c credentials) path(name string) string { return filepath.Join(c.dir, name) }

func loadOrCreateCredentials(dir string) (credentials, error) {
	c := credentials{dir: dir}
	// Written last, so a folder that has it has them all.
	if _, err := os.Stat(c.path("service-account.key")); err == nil {
		return c, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return c, err
	}
	ca := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "test-cluster-ca"},
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	caKey, err := c.issue("ca", ca, ca, nil)
	if err != nil {
		return c, err
	}
	leaves := map[string]*x509.Certificate{
		"server": {
			Subject:     pkix.Name{CommonName: "kube-apiserver"},
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
			DNSNames: []string{
				"localhost", "kubernetes", "kubernetes.default",
				"kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
			},
			// The last is the first address of the service range: the Service `kubernetes`.
			IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv4(10, 96, 0, 1)},
		},
		"admin": {
			Subject:     pkix.Name{CommonName: "admin", Organization: []string{"system:masters"}},
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		},
	}
	for name, leaf := range leaves {
		leaf.KeyUsage = x509.KeyUsageDigitalSignature
		if _, err := c.issue(name, leaf, ca, caKey); err != nil {
			return c, err
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return c, err
	}
	return c, c.writeKey("service-account.key", key)
}

// issue writes name.crt and name.key and returns the key; without a key of the
// parent the certificate signs itself.
func (c credentials) issue(name string, leaf, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	if parentKey == nil {
		parentKey = key
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	leaf.SerialNumber = serial
	leaf.NotBefore = time.Now().Add(-time.Hour)
	leaf.NotAfter = time.Now().Add(10 * 365 * 24 * time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, leaf, parent, key.Public(), parentKey)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if err := c.writePEM(name+".crt", "CERTIFICATE", der); err != nil {
		return nil, err
	}
	return key, c.writeKey(name+".key", key)
}

func (c credentials) writeKey(name string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return c.writePEM(name, "EC PRIVATE KEY", der)
}

func (c credentials) writePEM(name, kind string, der []byte) error {
	return os.WriteFile(c.path(name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}

// writeKubeconfig writes credentials with all rights, complete in one file.
func (c credentials) writeKubeconfig(path, url string) error {
	config := clientcmdapi.NewConfig()
	cluster, user := clientcmdapi.NewCluster(), clientcmdapi.NewAuthInfo()
	cluster.Server = url
	var err error
	for name, into := range map[string]*[]byte{
		"ca.crt":    &cluster.CertificateAuthorityData,
		"admin.crt": &user.ClientCertificateData,
		"admin.key": &user.ClientKeyData,
	} {
		if *into, err = os.ReadFile(c.path(name)); err != nil {
			return err
		}
	}
	context := clientcmdapi.NewContext()
	context.Cluster, context.AuthInfo = "test", "admin"
	config.Clusters["test"] = cluster
	config.AuthInfos["admin"] = user
	config.Contexts["test"] = context
	config.CurrentContext = "test"
	return clientcmd.WriteToFile(*config, path)
}
