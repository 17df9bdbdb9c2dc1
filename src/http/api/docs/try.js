// The key that is typed in stays in this page: it is kept nowhere.
SwaggerUIBundle({
  url: "../openapi.json",
  dom_id: "#api",
  deepLinking: true,
  persistAuthorization: false,
  // Else the badge asks a server elsewhere.
  validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis],
});
