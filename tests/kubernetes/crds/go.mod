// Whose CRDs the tests install. Nothing of these modules is built.
module zonefold.test/crds

go 1.26.0

require (
	sigs.k8s.io/external-dns v0.22.0
	sigs.k8s.io/gateway-api v1.6.3
)
