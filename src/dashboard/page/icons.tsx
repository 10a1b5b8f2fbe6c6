// The few signs that the page uses; drawn in the text's colour and hidden from screen readers,
// whose words stand beside them.

import type { ComponentChildren } from 'preact';

function Icon({ children, size = 16 }: { readonly children: ComponentChildren; readonly size?: number }) {
	return (
		<svg class="icon" viewBox="0 0 16 16" width={size} height={size} aria-hidden="true">
			{children}
		</svg>
	);
}

export function LockIcon({ size = 12 }: { readonly size?: number }) {
	return (
		<Icon size={size}>
			<path d="M5 7V5.2a3 3 0 0 1 6 0V7" fill="none" stroke="currentColor" stroke-width="1.6" />
			<rect x="3.2" y="7" width="9.6" height="6.6" rx="1.6" fill="currentColor" />
		</Icon>
	);
}

export function OpenLockIcon({ size = 12 }: { readonly size?: number }) {
	return (
		<Icon size={size}>
			<path d="M1.8 7.4V5a2.8 2.8 0 0 1 5.6 0v2.4" fill="none" stroke="currentColor" stroke-width="1.6" />
			<rect x="5" y="7.2" width="9.6" height="6.4" rx="1.6" fill="currentColor" />
		</Icon>
	);
}

export function CloseIcon() {
	return (
		<Icon>
			<path d="m4 4 8 8m0-8-8 8" stroke="currentColor" stroke-width="1.6" stroke-linecap="round" />
		</Icon>
	);
}

export function PlusIcon() {
	return (
		<Icon>
			<path d="M8 3.5v9M3.5 8h9" stroke="currentColor" stroke-width="1.6" stroke-linecap="round" />
		</Icon>
	);
}

export function MinusIcon() {
	return (
		<Icon>
			<path d="M3.5 8h9" stroke="currentColor" stroke-width="1.6" stroke-linecap="round" />
		</Icon>
	);
}

export function FitIcon() {
	return (
		<Icon>
			<path
				d="M3 6V3h3m4 0h3v3m0 4v3h-3m-4 0H3v-3"
				fill="none"
				stroke="currentColor"
				stroke-width="1.6"
				stroke-linecap="round"
				stroke-linejoin="round"
			/>
		</Icon>
	);
}

/** Two warps and two wefts, over and under. */
export function Weave() {
	return (
		<svg class="weave" viewBox="0 0 32 32" width="26" height="26" aria-hidden="true">
			<g fill="none" stroke-width="3" stroke-linecap="round">
				<path class="warp" d="M10 5v6m0 6v10M22 5v10m0 6v6" />
				<path class="thread" d="M5 12h10m6 0h6M5 20h4m6 0h12" />
			</g>
		</svg>
	);
}
