// Mutual TLS for mesh traffic that comes in: TLS 1.3, a certificate of the trust domain required,
// everything from the sidecar's own identity.

import { create } from '@bufbuild/protobuf';
import { type TransportSocket, TransportSocketSchema } from '../../generated/envoy/config/core/v3/base_pb.ts';
import {
	SubjectAltNameMatcher_SanType,
	TlsParameters_TlsProtocol,
} from '../../generated/envoy/extensions/transport_sockets/tls/v3/common_pb.ts';
import { DownstreamTlsContextSchema } from '../../generated/envoy/extensions/transport_sockets/tls/v3/tls_pb.ts';
import { IDENTITY_SECRET_NAME, ROOTS_SECRET_NAME } from '../../identity/identity.ts';
import { any, sdsSecret } from './messages.ts';

export function requiredMutualTls(trustDomain: string, http: boolean): TransportSocket {
	const context = create(DownstreamTlsContextSchema, {
		requireClientCertificate: true,
		commonTlsContext: {
			tlsParams: {
				tlsMinimumProtocolVersion: TlsParameters_TlsProtocol.TLSv1_3,
				tlsMaximumProtocolVersion: TlsParameters_TlsProtocol.TLSv1_3,
			},
			alpnProtocols: http ? ['h2', 'http/1.1'] : [],
			tlsCertificateSdsSecretConfigs: [sdsSecret(IDENTITY_SECRET_NAME)],
			validationContextType: {
				case: 'combinedValidationContext',
				value: {
					defaultValidationContext: {
						matchTypedSubjectAltNames: [
							{
								sanType: SubjectAltNameMatcher_SanType.URI,
								matcher: { matchPattern: { case: 'prefix', value: `spiffe://${trustDomain}/` } },
							},
						],
					},
					validationContextSdsSecretConfig: sdsSecret(ROOTS_SECRET_NAME),
				},
			},
		},
	});
	return create(TransportSocketSchema, {
		name: 'envoy.transport_sockets.tls',
		configType: { case: 'typedConfig', value: any(DownstreamTlsContextSchema, context) },
	});
}
