// The fields of Envoy's TLS messages that weft reads, for `unsupportedFields`.

import type { SupportedFields } from '../field-check.ts';

const TLS = 'envoy.extensions.transport_sockets.tls.v3';

export const TLS_FIELDS: SupportedFields = {
	[`${TLS}.UpstreamTlsContext`]: ['common_tls_context', 'sni', 'max_session_keys', 'enforce_rsa_key_usage'],
	[`${TLS}.DownstreamTlsContext`]: [
		'common_tls_context',
		'require_client_certificate',
		'disable_stateless_session_resumption',
		'disable_stateful_session_resumption',
		'session_timeout',
		'full_scan_certs_on_sni_mismatch',
	],
	[`${TLS}.CommonTlsContext`]: [
		'tls_params',
		'tls_certificates',
		'tls_certificate_sds_secret_configs',
		'validation_context',
		'validation_context_sds_secret_config',
		'combined_validation_context',
		'alpn_protocols',
	],
	[`${TLS}.CommonTlsContext.CombinedCertificateValidationContext`]: [
		'default_validation_context',
		'validation_context_sds_secret_config',
	],
	[`${TLS}.TlsParameters`]: [
		'tls_minimum_protocol_version',
		'tls_maximum_protocol_version',
		'cipher_suites',
		'ecdh_curves',
		'signature_algorithms',
	],
	[`${TLS}.TlsCertificate`]: ['certificate_chain', 'private_key', 'password', 'watched_directory'],
	[`${TLS}.CertificateValidationContext`]: [
		'trusted_ca',
		'watched_directory',
		'verify_certificate_spki',
		'verify_certificate_hash',
		'match_typed_subject_alt_names',
		'crl',
		'only_verify_leaf_cert_crl',
		'allow_expired_certificate',
		'trust_chain_verification',
		'max_verify_depth',
	],
	[`${TLS}.SubjectAltNameMatcher`]: ['san_type', 'matcher'],
	[`${TLS}.SdsSecretConfig`]: ['name', 'sds_config'],
	[`${TLS}.Secret`]: ['name', 'tls_certificate', 'validation_context'],
	'envoy.config.core.v3.DataSource': ['filename', 'inline_bytes', 'inline_string', 'environment_variable'],
	'envoy.config.core.v3.ConfigSource': [
		'path',
		'path_config_source',
		'ads',
		'api_config_source',
		'initial_fetch_timeout',
		'resource_api_version',
	],
	'envoy.config.core.v3.WatchedDirectory': ['path'],
	'envoy.config.core.v3.PathConfigSource': ['path', 'watched_directory'],
	'envoy.type.matcher.v3.StringMatcher': ['exact', 'prefix', 'suffix', 'contains', 'safe_regex', 'ignore_case'],
	'envoy.type.matcher.v3.RegexMatcher': ['regex', 'google_re2'],
};
