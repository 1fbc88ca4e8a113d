#include "libs/destination/mapped_request.h"

#include <algorithm>

#include "libs/destination/credentials.h"

namespace millrace::destination {
namespace {

namespace ondemand = simdjson::ondemand;

Status Wrong(std::string_view what) {
  return Error(StatusCode::kInvalidArgument, "the mapping returned a wrong request: {}", what);
}

bool HasControl(std::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; });
}

void AppendEncoded(std::string_view text, std::string* out) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '_' || c == '.' || c == '~';
    if (plain) {
      out->push_back(c);
    } else {
      const auto byte = static_cast<unsigned char>(c);
      out->append({'%', kHex[byte >> 4], kHex[byte & 15]});
    }
  }
}

/// Calls `use(name, text)` for each member of an object of texts, numbers and booleans; null is
/// left out.
template <typename Use>
Status EachMember(ondemand::value value, std::string_view where, Use use) {
  ondemand::object object;
  if (value.get_object().get(object) != simdjson::SUCCESS) {
    return Wrong(fmt::format("'{}' is not an object", where));
  }
  for (auto field : object) {
    std::string_view name;
    ondemand::value member;
    ondemand::json_type type{};
    if (field.unescaped_key().get(name) != simdjson::SUCCESS ||
        field.value().get(member) != simdjson::SUCCESS ||
        member.type().get(type) != simdjson::SUCCESS) {
      return Wrong(fmt::format("'{}' cannot be read", where));
    }
    const std::string key(name);
    std::string_view text;
    switch (type) {
      case ondemand::json_type::null:
        continue;
      case ondemand::json_type::string:
        if (member.get_string().get(text) != simdjson::SUCCESS) {
          return Wrong(fmt::format("'{}.{}' is not valid Unicode", where, key));
        }
        break;
      case ondemand::json_type::number:
      case ondemand::json_type::boolean:
        text = member.raw_json_token();
        while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
        break;
      default:
        return Wrong(fmt::format("'{}.{}' is not a text, number or boolean", where, key));
    }
    MR_RETURN_IF_ERROR(use(key, text));
  }
  return OkStatus();
}

Status SetText(ondemand::value value, std::string_view where, std::string* out) {
  std::string_view text;
  if (value.get_string().get(text) != simdjson::SUCCESS) {
    return Wrong(fmt::format("'{}' is not a text", where));
  }
  out->assign(text);
  return OkStatus();
}

struct Parts {
  Prepared request;
  std::string query;
  std::string_view content_type;
  Credentials credentials;
};

bool SameName(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [&](char x, char y) { return lower(x) == lower(y); });
}

using Headers = std::vector<std::pair<std::string, std::string>>;

Headers::iterator Find(Headers* headers, std::string_view name) {
  return std::find_if(headers->begin(), headers->end(),
                      [&](const auto& header) { return SameName(header.first, name); });
}

/// A character of a token, which header names are.
bool IsTokenCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}

/// Names know no case: of one that stands twice the last counts.
Status TakeHeaders(ondemand::value value, std::string_view where, Headers* headers) {
  return EachMember(value, where, [&](const std::string& name, std::string_view text) {
    if (name.empty() || !std::all_of(name.begin(), name.end(), IsTokenCharacter)) {
      return Wrong(fmt::format("'{}' is not a header name", name));
    }
    if (HasControl(text)) return Wrong(fmt::format("header '{}' has control characters", name));
    if (const auto found = Find(headers, name); found != headers->end()) headers->erase(found);
    headers->emplace_back(name, text);
    return OkStatus();
  });
}

Status AppendPair(std::string_view name, std::string_view text, std::string* out) {
  if (!out->empty()) out->push_back('&');
  AppendEncoded(name, out);
  out->push_back('=');
  AppendEncoded(text, out);
  return OkStatus();
}

Status TakeBody(ondemand::value value, std::string_view event, std::string* body) {
  ondemand::json_type type{};
  if (value.type().get(type) == simdjson::SUCCESS && type == ondemand::json_type::object) {
    body->assign(event);  // context.raw, the only object that may stand here
    return OkStatus();
  }
  return SetText(value, "body", body);
}

Status TakeOrigins(ondemand::value value, std::vector<std::string>* origins) {
  ondemand::array array;
  if (value.get_array().get(array) != simdjson::SUCCESS) return Wrong("'origins' is not a list");
  for (auto item : array) {
    ondemand::value origin;
    if (item.get(origin) != simdjson::SUCCESS) return Wrong("'origins' cannot be read");
    MR_RETURN_IF_ERROR(SetText(origin, "origins", &origins->emplace_back()));
  }
  return OkStatus();
}

Status TakeCredentials(ondemand::value value, Credentials* credentials) {
  credentials->given = true;
  ondemand::object object;
  if (value.get_object().get(object) != simdjson::SUCCESS) {
    return Wrong("'credentials' is not an object");
  }
  for (auto field : object) {
    std::string_view name;
    ondemand::value member;
    if (field.unescaped_key().get(name) != simdjson::SUCCESS ||
        field.value().get(member) != simdjson::SUCCESS) {
      return Wrong("'credentials' cannot be read");
    }
    if (name == "origins") {
      MR_RETURN_IF_ERROR(TakeOrigins(member, &credentials->origins));
    } else if (name == "headers") {
      MR_RETURN_IF_ERROR(TakeHeaders(member, name, &credentials->headers));
    } else if (name == "query") {
      MR_RETURN_IF_ERROR(
          EachMember(member, name, [&](const std::string& key, std::string_view text) {
            return AppendPair(key, text, &credentials->query);
          }));
    } else if (name == "in_url") {
      if (member.get_bool().get(credentials->in_url) != simdjson::SUCCESS) {
        return Wrong("'in_url' is neither true nor false");
      }
    } else {
      return Wrong(fmt::format("'credentials' has no field '{}'", std::string(name)));
    }
  }
  return OkStatus();
}

Status TakeField(std::string_view key, ondemand::value value, std::string_view event,
                 Parts* parts) {
  Prepared& request = parts->request;
  if (key == "method") return SetText(value, key, &request.method);
  if (key == "url") return SetText(value, key, &request.url);
  if (key == "query") {
    return EachMember(value, key, [&](const std::string& name, std::string_view text) {
      return AppendPair(name, text, &parts->query);
    });
  }
  if (key == "headers") return TakeHeaders(value, key, &request.headers);
  if (key == "credentials") return TakeCredentials(value, &parts->credentials);
  if (key == "body") return TakeBody(value, event, &request.body);
  if (key == "json") {
    std::string_view text;
    if (simdjson::to_json_string(value).get(text) != simdjson::SUCCESS) {
      return Wrong("'json' cannot be read");
    }
    request.body.assign(text);
    parts->content_type = "application/json";
    return OkStatus();
  }
  if (key == "form") {
    parts->content_type = "application/x-www-form-urlencoded";
    return EachMember(value, key, [&](const std::string& name, std::string_view text) {
      return AppendPair(name, text, &request.body);
    });
  }
  return Wrong(fmt::format("it has no field '{}'", key));
}

void AppendQuery(std::string_view query, std::string* url) {
  if (query.empty()) return;
  const size_t hash = std::min(url->find('#'), url->size());
  const char separator = url->find('?') < hash ? '&' : '?';
  url->insert(hash, separator + std::string(query));
}

/// What is configured goes to the configured origin; a header of the request itself goes before.
void AddCredentials(Parts* parts) {
  const Credentials& credentials = parts->credentials;
  Prepared& request = parts->request;
  if (!credentials.given) return;
  if (!HasOrigin(request.url, credentials.origins)) {
    if (credentials.in_url) RemoveUser(&request.url);
    return;
  }
  for (const auto& [name, text] : credentials.headers) {
    if (Find(&request.headers, name) == request.headers.end()) {
      request.headers.emplace_back(name, text);
    }
  }
  AppendQuery(credentials.query, &request.url);
}

Status Finish(Parts* parts) {
  Prepared& request = parts->request;
  if (!(request.url.starts_with("https://") || request.url.starts_with("http://")) ||
      HasControl(request.url) || request.url.find(' ') != std::string::npos) {
    return Wrong("'url' is not an http or https URL");
  }
  if (request.method.empty() || !std::all_of(request.method.begin(), request.method.end(),
                                             [](char c) { return c >= 'A' && c <= 'Z'; })) {
    return Wrong("'method' is not an HTTP method");
  }
  if (!HasPlainAuthority(request.url)) return Wrong("'url' names its server in a doubtful way");
  AddCredentials(parts);
  AppendQuery(parts->query, &request.url);
  if (!parts->content_type.empty() &&
      Find(&request.headers, "content-type") == request.headers.end()) {
    request.headers.emplace_back("content-type", parts->content_type);
  }
  return OkStatus();
}

Status DecodeOne(ondemand::value value, std::string_view event, std::vector<Prepared>* requests) {
  ondemand::object object;
  if (value.get_object().get(object) != simdjson::SUCCESS) return Wrong("it is not an object");
  Parts parts;
  for (auto field : object) {
    std::string_view key;
    ondemand::value member;
    if (field.unescaped_key().get(key) != simdjson::SUCCESS ||
        field.value().get(member) != simdjson::SUCCESS) {
      return Wrong("it cannot be read");
    }
    MR_RETURN_IF_ERROR(TakeField(std::string(key), member, event, &parts));
  }
  MR_RETURN_IF_ERROR(Finish(&parts));
  requests->push_back(std::move(parts.request));
  return OkStatus();
}

}  // namespace

Status RequestDecoder::Decode(std::string* output, std::string_view event,
                              std::vector<Prepared>* requests) {
  const size_t size = output->size();
  output->reserve(size + simdjson::SIMDJSON_PADDING);
  ondemand::document document;
  ondemand::json_type type{};
  if (parser_.iterate(output->data(), size, output->capacity()).get(document) !=
          simdjson::SUCCESS ||
      document.type().get(type) != simdjson::SUCCESS) {
    return Wrong("it cannot be read");
  }
  if (type == ondemand::json_type::object) {
    ondemand::value value;
    if (document.get_value().get(value) != simdjson::SUCCESS) return Wrong("it cannot be read");
    return DecodeOne(value, event, requests);
  }
  if (type != ondemand::json_type::array) return Wrong("it is neither an object nor an array");
  ondemand::array array;
  if (document.get_array().get(array) != simdjson::SUCCESS) return Wrong("it cannot be read");
  for (auto item : array) {
    ondemand::value value;
    if (item.get(value) != simdjson::SUCCESS) return Wrong("it cannot be read");
    MR_RETURN_IF_ERROR(DecodeOne(value, event, requests));
  }
  return OkStatus();
}

}  // namespace millrace::destination
