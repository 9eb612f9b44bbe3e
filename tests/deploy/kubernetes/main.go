// Builds kustomizations and checks every object as the API server does: strictly decoded, so that
// no field is unknown or there twice, given its defaults, and validated.
//
// kubernetes DIRECTORY ...
//
// Prints each object as kind/name, or what is wrong with it; the exit code is 1 if anything is.
package main

import (
	"fmt"
	"os"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/apis/apps"
	_ "k8s.io/kubernetes/pkg/apis/apps/install"
	appsvalidation "k8s.io/kubernetes/pkg/apis/apps/validation"
	"k8s.io/kubernetes/pkg/apis/core"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"
	"k8s.io/kubernetes/pkg/apis/networking"
	_ "k8s.io/kubernetes/pkg/apis/networking/install"
	networkingvalidation "k8s.io/kubernetes/pkg/apis/networking/validation"
	"k8s.io/kubernetes/pkg/apis/policy"
	_ "k8s.io/kubernetes/pkg/apis/policy/install"
	policyvalidation "k8s.io/kubernetes/pkg/apis/policy/validation"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resource"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// The namespace that objects without one come into.
const namespace = "default"

func main() {
	wrong := false
	decoder := serializer.NewCodecFactory(legacyscheme.Scheme, serializer.EnableStrict).UniversalDecoder()
	kustomizer := krusty.MakeKustomizer(krusty.MakeDefaultOptions())
	for _, directory := range os.Args[1:] {
		built, err := kustomizer.Run(filesys.MakeFsOnDisk(), directory)
		if err != nil {
			fmt.Println(err)
			wrong = true
			continue
		}
		for _, one := range built.Resources() {
			name := one.GetKind() + "/" + one.GetName()
			if err := check(decoder, one); err != nil {
				fmt.Printf("%s: %v\n", name, err)
				wrong = true
			} else {
				fmt.Println(name)
			}
		}
	}
	if wrong {
		os.Exit(1)
	}
}

func check(decoder runtime.Decoder, one *resource.Resource) error {
	if one.GetNamespace() == "" {
		if err := one.SetNamespace(namespace); err != nil {
			return err
		}
	}
	text, err := one.AsYAML()
	if err != nil {
		return err
	}
	object, err := runtime.Decode(decoder, text)
	if err != nil {
		return err
	}
	faults, err := faultsOf(object)
	if err != nil {
		return err
	}
	return faults.ToAggregate()
}

func faultsOf(object runtime.Object) (field.ErrorList, error) {
	switch one := object.(type) {
	case *apps.StatefulSet:
		return appsvalidation.ValidateStatefulSet(one, corevalidation.PodValidationOptions{}), nil
	case *core.ConfigMap:
		return corevalidation.ValidateConfigMap(one), nil
	case *core.Service:
		one.Spec.ClusterIPs = []string{one.Spec.ClusterIP} // as the server does before
		return corevalidation.ValidateServiceCreate(one), nil
	case *networking.NetworkPolicy:
		return networkingvalidation.ValidateNetworkPolicy(one, networkingvalidation.NetworkPolicyValidationOptions{}), nil
	case *policy.PodDisruptionBudget:
		return policyvalidation.ValidatePodDisruptionBudget(one, policyvalidation.PodDisruptionBudgetValidationOptions{}), nil
	default:
		return nil, fmt.Errorf("nothing here validates a %T", object)
	}
}
