#include "services/router/masking.h"

#include <nlohmann/json.hpp>

#include <algorithm>

namespace millrace::router {
namespace {

constexpr size_t kMaxBodyBytes = 10 << 10;
constexpr size_t kMinSecretBytes = 4;

void CollectStrings(const nlohmann::json& value, std::vector<std::string>* out) {
  if (value.is_string()) {
    const auto& text = value.get_ref<const std::string&>();
    if (text.size() >= kMinSecretBytes) out->push_back(text);
  } else if (value.is_structured()) {
    for (const auto& part : value) CollectStrings(part, out);
  }
}

std::string Mask(std::string text, const std::vector<std::string>& secrets) {
  for (const std::string& secret : secrets) {
    for (size_t at = text.find(secret); at != std::string::npos; at = text.find(secret, at + 3)) {
      text.replace(at, secret.size(), "***");
    }
  }
  return text;
}

bool IsCredential(std::string_view name) {
  std::string lower(name);
  std::ranges::transform(lower, lower.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  });
  for (const std::string_view part : {"authorization", "cookie", "api-key", "apikey", "token",
                                      "secret", "password", "signature"}) {
    if (lower.find(part) != std::string::npos) return true;
  }
  return false;
}

void PutHeaders(const destination::Headers& headers, const std::vector<std::string>& secrets,
                google::protobuf::Map<std::string, std::string>* out) {
  for (const auto& [name, value] : headers) {
    (*out)[name] = IsCredential(name) ? "***" : Mask(value, secrets);
  }
}

// A secret that straddles the cut must not stay in half: mask first, then cut.
std::string MaskedBody(const std::string& body, const std::vector<std::string>& secrets) {
  std::string text = Mask(body, secrets);
  if (text.size() > kMaxBodyBytes) text.resize(kMaxBodyBytes);
  return text;
}

// The part of a URL that may carry a password: scheme://user:password@host.
std::string MaskedUrl(const std::string& url, const std::vector<std::string>& secrets) {
  std::string text = Mask(url, secrets);
  const size_t start = text.find("://");
  if (start == std::string::npos) return text;
  const size_t end = std::min(text.find_first_of("/?#", start + 3), text.size());
  const size_t at = text.rfind('@', end);
  if (at != std::string::npos && at > start + 3 && at < end) {
    text.replace(start + 3, at - start - 3, "***");
  }
  return text;
}

}  // namespace

std::vector<std::string> SecretsOf(const destination::v1::Definition& definition,
                                   const std::string& config_json) {
  std::vector<std::string> secrets;
  const auto config = nlohmann::json::parse(config_json, nullptr, /*allow_exceptions=*/false);
  if (!config.is_object()) return secrets;
  for (const auto& field : definition.fields()) {
    const auto value = config.find(field.name());
    if (field.secret() && value != config.end()) CollectStrings(*value, &secrets);
  }
  std::ranges::sort(secrets, [](const std::string& a, const std::string& b) {
    return a.size() != b.size() ? a.size() > b.size() : a < b;
  });
  return secrets;
}

delivery::v1::HttpExchange MaskedExchange(const destination::Prepared& request,
                                          const destination::Answer& response,
                                          const std::vector<std::string>& secrets) {
  delivery::v1::HttpExchange exchange;
  exchange.set_method(request.method);
  exchange.set_url(MaskedUrl(request.url, secrets));
  PutHeaders(request.headers, secrets, exchange.mutable_request_headers());
  exchange.set_request_body(MaskedBody(request.body, secrets));
  exchange.set_status(response.status);
  PutHeaders(response.headers, secrets, exchange.mutable_response_headers());
  exchange.set_response_body(MaskedBody(response.body, secrets));
  exchange.set_error(Mask(response.network_error, secrets));
  return exchange;
}

}  // namespace millrace::router
