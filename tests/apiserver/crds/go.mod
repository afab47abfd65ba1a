// Where tests take the well-known definitions of kinds from. Only the files in
// these modules are read; nothing is built.
module pilothouse.test/crds

go 1.26.0

require (
	istio.io/api v1.31.4
	sigs.k8s.io/gateway-api v1.6.3
)
